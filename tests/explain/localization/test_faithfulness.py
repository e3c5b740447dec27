"""Claims about the check of explanations: on a model whose evidence is known, it trusts what is right and no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hvit.explain import MAP_METHODS, gradcat
from hvit.explain.localization.faithfulness import (
    Finding,
    evidence_maps,
    examine,
    findings_of,
    passes_to_examine,
    rank_correlation,
    verdict,
)
from hvit.explain.tree import GRADCATS
from hvit.models.create import create_model

COUNT, SIDE = 16, 16


class Cells(nn.Module):
    """Logits that are weighted sums of the sixteenths of an image: (classes, 4, 4) weights."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images: Tensor) -> Tensor:
        cells = images.unflatten(3, (4, SIDE // 4)).unflatten(2, (4, SIDE // 4)).mean((1, 3, 5))
        return torch.einsum("brc,krc->bk", cells, self.weights)


def renewed(number: int) -> Cells:
    return Cells(torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(number)))


def scenes() -> tuple[Tensor, list[Any]]:
    """Images with noise and one bright sixteenth, and where it is."""
    generator = torch.Generator().manual_seed(3)
    images = 0.1 * torch.randn(COUNT, 1, SIDE, SIDE, generator=generator)
    masks = []
    for number in range(COUNT):
        row, column = (4 * (number // 4 % 4), 4 * (number % 4))
        images[number, 0, row : row + 4, column : column + 4] += 2
        mask = np.zeros((SIDE, SIDE), dtype=bool)
        mask[row : row + 4, column : column + 4] = True
        masks.append(mask)
    return images, masks


BRIGHT = Cells(torch.stack([torch.full((4, 4), 3.0), torch.zeros(4, 4)]))
"""Says class 0 as surely as there is light."""


def findings(method: str, with_masks: bool = True) -> dict[str, Finding]:
    images, masks = scenes()
    parts = [
        examine(
            BRIGHT, images[part], method, masks[part] if with_masks else [None] * 8, "zeros", 500, part.start, renewed
        )
        for part in (slice(0, 8), slice(8, 16))
    ]
    return {one.name: one for one in findings_of(parts)}


def test_block_shapley_passes_every_check_where_the_evidence_is_known() -> None:
    found = findings("block_shapley")
    assert list(found) == ["deletion", "insertion", "random weights", "baselines", "pointing"]
    assert all(one.passes for one in found.values())
    assert found["pointing"].value == 1.0
    assert found["pointing"].compared_with == pytest.approx(1 / 16)
    assert found["baselines"].images == COUNT
    assert found["deletion"].value < found["deletion"].interval[1] < found["deletion"].compared_with
    assert found["insertion"].value > found["insertion"].interval[0] > found["insertion"].compared_with
    sentence = verdict("block_shapley", list(found.values()))
    assert sentence == "block_shapley can be trusted on these 16 images: it passes all 5 checks"


def test_a_map_that_does_not_depend_on_the_model_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MAP_METHODS, "light", lambda model, images, classes: images.numpy())
    found = findings("light", with_masks=False)
    assert found["random weights"].value == pytest.approx(1.0)
    assert [name for name, one in found.items() if not one.passes] == ["random weights"]
    assert verdict("light", list(found.values())) == (
        "light cannot be trusted on these 16 images: the maps of the same model with random weights look alike"
    )


def test_a_map_of_nothing_is_no_better_than_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(1)
    monkeypatch.setitem(
        MAP_METHODS, "noise", lambda model, images, classes: noise.random((len(images), 1, 4, 4), np.float32)
    )
    found = findings("noise")
    assert [name for name, one in found.items() if not one.passes] == ["deletion", "insertion", "pointing"]


def test_the_same_images_give_the_same_numbers_and_the_model_is_left_as_it_was() -> None:
    images, masks = scenes()
    BRIGHT.train()
    first, second = (examine(BRIGHT, images[:2], "block_shapley", masks[:2], "zeros", 20, 0, renewed) for _ in range(2))
    for one, other in zip(vars(first).values(), vars(second).values(), strict=True):
        assert np.array_equal(one, other)
    assert BRIGHT.training


def test_rank_correlation_is_spearmans() -> None:
    rising = np.arange(6.0).reshape(2, 3)
    assert rank_correlation(rising, np.exp(rising)) == pytest.approx(1)
    assert rank_correlation(rising, -rising) == pytest.approx(-1)
    assert rank_correlation(rising, np.ones((2, 3))) == 0


@pytest.mark.parametrize("method", ["block_shapley", "light"])
def test_as_many_forward_passes_are_spent_as_were_planned(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MAP_METHODS, "light", lambda model, images, classes: images.numpy())
    images, masks = scenes()
    spent: list[float] = []
    examine(BRIGHT, images[:3], method, masks[:3], "zeros", 500, 0, renewed, progress=spent.append)
    planned = passes_to_examine(BRIGHT, images[:1], method, 500)
    assert planned > (500 if method == "block_shapley" else 70)
    assert sum(spent) == pytest.approx(3 * planned)
    assert len(spent) > 70


def test_gradcat_s_keys_name_its_gradients() -> None:
    torch.manual_seed(0)
    model: Any = create_model("nest_micro_32", num_classes=3, in_channels=1).eval()
    images, classes = torch.randn(2, 1, 32, 32), torch.tensor([[0], [2]])
    maps = [evidence_maps(model, images, classes, method, "mean", None, "exchanged") for method in GRADCATS]
    for one, gradient in zip(maps, GRADCATS.values(), strict=True):
        for item in range(2):
            tree = gradcat(model, images[item], int(classes[item]), gradient=gradient)
            assert one[item] == pytest.approx(tree.block_map, abs=1e-6)
    assert not np.allclose(*maps, atol=1e-6)
