"""Distillation as a task: teachers see the student's own crop, their average, the losses, and the token's two heads."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import hvit
from hvit.data.preprocess import Preprocess
from hvit.models.layers.encoder import Encoder
from hvit.tasks.distill import Distill, Student, Teacher, Teachers, first_key, in_channels, resized
from hvit.tasks.distill_settings import DistillConfig
from hvit.tasks.task import Phase

CLASSES = ("a", "b", "c")
VIEW = Preprocess((16, 16), (0.5,) * 3, (0.25,) * 3, 1.0, "bilinear")
PHASE = Phase("distill", network="model")


def model_of(side: int, seed: int) -> Encoder:
    torch.manual_seed(seed)
    return hvit.create_model(
        "resnet_micro_32", input_size=side, num_classes=3, dims=(8, 8, 8, 8), depths=(1, 1, 1, 1)
    ).eval()  # pyright: ignore[reportReturnType]


def teacher_of(side: int, seed: int, mean: float = 0.4) -> Teacher:
    preprocess = Preprocess((side, side), (mean,) * 3, (0.3,) * 3, 0.875, "bilinear")
    return Teacher(f"t{seed}", model_of(side, seed), CLASSES, preprocess, "x")


def task_of(teachers: Teachers, model: Encoder, share: float = 1.0, **settings) -> Distill:
    student = Student(model, teachers.feature_dims, 3)
    how = DistillConfig(teachers=("t",) * len(teachers.teachers), **settings)
    return Distill(student, CLASSES, asdict(VIEW), (16, 16), teachers, how, share)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_a_teacher_sees_the_same_crop_in_its_own_size_and_normalisation(images: Tensor) -> None:
    teacher = teacher_of(8, 0)
    seen = Teachers([teacher], [[0, 1, 2]], VIEW, False).prepared(teacher, images)
    own = F.interpolate(images * 0.25 + 0.5, size=(8, 8), mode="bilinear", antialias=True)
    assert torch.allclose(seen, (own - 0.4) / 0.3, atol=1e-6)
    clips = torch.randn(2, 3, 5, 16, 16)
    assert torch.equal(resized(clips, (8, 8), "bilinear")[:, :, 2], resized(clips[:, :, 2], (8, 8), "bilinear"))
    assert in_channels(images[:, :1], 3).shape == images.shape
    assert in_channels(images, 1).shape == (4, 1, 16, 16)


def test_logits_come_in_the_order_of_the_data_and_features_are_what_the_head_takes(images: Tensor) -> None:
    teacher = teacher_of(16, 0, 0.5)
    rows = Teachers([teacher], [[2, 0, 1]], VIEW, True)(images)
    prepared = (images * 0.25 + 0.5 - 0.5) / 0.3
    model = teacher.model
    assert isinstance(model, Encoder)
    logits, features = model(prepared), model.levels(prepared)[-1].mean((1, 2))
    assert torch.allclose(rows[:, :3], logits[:, [2, 0, 1]], atol=1e-5)
    assert torch.allclose(rows[:, 3:], features, atol=1e-5)
    assert not rows.requires_grad
    assert not rows.is_inference()


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_several_teachers_are_averaged(images: Tensor, average: str) -> None:
    both = Teachers([teacher_of(16, 0), teacher_of(8, 1)], [[0, 1, 2], [0, 1, 2]], VIEW, False)
    task = task_of(both, model_of(16, 2), average=average, label_weight=0.0, temperature=3.0)
    one, other = both(images).split([3, 3], dim=1)
    if average == "logits":
        wanted = ((one + other) / 2 / 3).softmax(1)
    else:
        wanted = ((one / 3).softmax(1) + (other / 3).softmax(1)) / 2
    guess = (task.networks["model"](images)[0] / 3).log_softmax(1)
    kl = (wanted * (wanted.log() - guess)).sum(1).mean() * 9
    loss = task.loss(PHASE, task.networks, {"images": images, "targets": torch.zeros(4, 3)})
    assert torch.allclose(loss, kl, atol=1e-5)


def test_labels_weigh_as_the_mean_over_labelled_images(images: Tensor) -> None:
    teachers = Teachers([teacher_of(16, 0)], [[0, 1, 2]], VIEW, False)
    targets = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 1.0], [0, 0, 0]])
    task = task_of(teachers, model_of(16, 2), share=0.5, hard=True, label_weight=0.25)
    logits = task.networks["model"](images)[0]
    labels = F.cross_entropy(logits[[0, 2]], torch.tensor([0, 2]))
    wanted = 0.75 * F.cross_entropy(logits, teachers(images).argmax(1)) + 0.25 * labels
    loss = task.loss(PHASE, task.networks, {"images": images, "targets": targets})
    assert torch.allclose(loss, wanted, atol=1e-6)


def test_features_are_projected_from_any_level_and_trained(images: Tensor) -> None:
    teachers = Teachers([teacher_of(16, 0)], [None], VIEW, True)
    model = model_of(16, 2)
    task = task_of(teachers, model, target="features", label_weight=0.5)
    task.networks["model"] = student = Student(model, (8,), level=1)
    targets = torch.eye(3)[[0, 1, 2, 0]]
    pooled = model.levels(images)[1].mean((1, 2))
    distance = F.mse_loss(student.projections[0](pooled), F.layer_norm(teachers(images), (8,)))
    wanted = 0.5 * distance + 0.5 * F.cross_entropy(model(images), targets)
    loss = task.loss(PHASE, task.networks, {"images": images, "targets": targets})
    assert torch.allclose(loss, wanted, atol=1e-5)
    loss.backward()
    assert all(value.grad is not None for value in student.parameters())
    assert student.level_of("projections.0.weight") == student.level_of("classifier.network.fc.weight")


def test_remembered_answers_are_given_and_others_computed(images: Tensor) -> None:
    teachers = Teachers([teacher_of(16, 0)], [[0, 1, 2]], VIEW, False)
    whole = teachers(images)
    keys = b"".join(teachers.keys(images[:2]))
    teachers.remember(torch.frombuffer(bytearray(keys), dtype=torch.uint8).view(-1, 16).numpy(), whole[:2].numpy() + 7)
    answers = teachers(images[[2, 0, 1]])
    assert torch.allclose(answers - whole[[2, 0, 1]], torch.tensor([[0.0], [7], [7]]).expand(3, 3), atol=1e-5)


def eight_bit(count: int) -> Tensor:
    """Images as the training loader makes them from 8-bit pixels, in the view of these tests."""
    pixels = torch.randint(0, 256, (count, 3, 16, 16), generator=torch.Generator().manual_seed(2))
    return (pixels / 255 - 0.5) / 0.25


def remembering(teachers: Teachers, images: Tensor, rows: Tensor) -> Teachers:
    """The same teachers, who answer with these rows and are not asked."""
    found = Teachers(teachers.teachers, teachers.orders, teachers.view, bool(teachers.feature_dims))
    keys = np.frombuffer(b"".join(found.keys(images)), np.uint8).reshape(-1, 16)
    found.remember(keys, rows.numpy())
    found.ask = lambda images: pytest.fail("a remembered image is asked about")  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize("settings", [{}, {"target": "both", "hard": True}, {"target": "features"}], ids=str)
def test_remembered_answers_give_exactly_the_losses_and_gradients_of_live_ones(settings: dict[str, Any]) -> None:
    pair = [teacher_of(16, 0), teacher_of(8, 1)]
    uses_logits, uses_features = settings.get("target") != "features", "target" in settings
    orders = [[0, 1, 2], [2, 1, 0]] if uses_logits else [None, None]
    live, images = Teachers(pair, orders, VIEW, uses_features), eight_bit(4)
    remembered = remembering(live, images, live.ask(images))
    found = []
    for teachers in (live, remembered):
        torch.manual_seed(3)
        task = task_of(teachers, model_of(16, 2), **settings)
        for order in ([0, 1, 2, 3], [3, 1], [2]):
            targets = torch.eye(3)[[number % 3 for number in order]]
            loss = task.loss(PHASE, task.networks, {"images": images[order], "targets": targets})
            loss.backward()
            found.append(loss.detach())
        found += [value.grad for value in task.networks["model"].parameters() if value.grad is not None]
    whole, again = found[: len(found) // 2], found[len(found) // 2 :]
    assert torch.equal(whole[0], again[0]), "the batch that was asked about, bit for bit"
    for one, other in zip(whole, again, strict=True):  # rows of smaller batches are rounded in another order
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_the_loss_sees_the_average_of_several_teachers_and_of_each_of_them(average: str) -> None:
    images, temperature = eight_bit(4), 3.0
    one, other, third = (torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)) for seed in (4, 5, 6))

    def loss_of(*said: Tensor) -> Tensor:
        asked = Teachers([teacher_of(16, 0)] * len(said), [[0, 1, 2]] * len(said), VIEW, False)
        teachers = remembering(asked, images, torch.cat(said, dim=1))
        task = task_of(teachers, model_of(16, 2), average=average, label_weight=0.0, temperature=temperature)
        return task.loss(PHASE, task.networks, {"images": images, "targets": torch.zeros(4, 3)})

    three = torch.stack([one, other, third])
    if average == "logits":
        mean = three.mean(0)
    else:
        mean = temperature * (three / temperature).softmax(2).mean(0).log()
    found = loss_of(one, other, third)
    assert torch.allclose(found, loss_of(mean), rtol=1e-5)
    assert torch.allclose(found, loss_of(third, one, other), rtol=1e-5), "in whatever order they are named"
    assert torch.equal(loss_of(one, one), loss_of(one))
    for some in ((one,), (one, other), (other, third), (one, third)):
        assert not torch.isclose(found, loss_of(*some), rtol=1e-3), "each of them counts"


def test_the_distillation_token_trains_each_head_by_its_own_loss(images: Tensor) -> None:
    torch.manual_seed(0)
    model = hvit.create_model(
        "vit_micro_32", input_size=16, num_classes=3, dims=(12,), heads=(2,), depths=(1,), distillation_token=True
    )
    teachers = Teachers([teacher_of(16, 0)], [[0, 1, 2]], VIEW, False)
    targets = torch.eye(3)[[0, 1, 2, 0]]
    task = task_of(teachers, model, token=True, hard=True, label_weight=0.5)  # pyright: ignore[reportArgumentType]
    own, distilled = task.networks["model"](images)
    decided = teachers(images).argmax(1)
    wanted = 0.5 * F.cross_entropy(own, targets) + 0.5 * F.cross_entropy(distilled, decided)
    assert torch.allclose(task.loss(PHASE, task.networks, {"images": images, "targets": targets}), wanted, atol=1e-6)
    assert torch.allclose(model(images), (own + distilled) / 2, atol=1e-6)


def test_agreement_and_the_teachers_own_score_are_reported(images: Tensor) -> None:
    teachers = Teachers([teacher_of(16, 0)], [[0, 1, 2]], VIEW, False)
    task = task_of(teachers, model_of(16, 2))
    batch = {"images": images, "targets": torch.tensor([0, 1, 2, 0])}
    assert "agreement" not in task.evaluate(task.networks, [batch])
    guesses = model_of(16, 2)(images).argmax(1)
    decided = torch.cat([guesses[:3], (guesses[3:] + 1) % 3])
    task.answers = {first_key(images): [F.one_hot(decided, 3).float()], first_key(images[1:]): [torch.zeros(4, 3)]}
    scores = task.evaluate(task.networks, [batch])
    assert scores["agreement"] == 0.75
    assert scores["teacher_top1"] == (decided == batch["targets"]).double().mean().item()
