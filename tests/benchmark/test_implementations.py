"""Claims about what a process builds and measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import hvit
from hvit.benchmark import implementations
from hvit.benchmark.implementations import EAGER, PREPARED, Wanted, build_implementation, open_target
from hvit.errors import UserError
from hvit.models.weights.save import save_weights

SHORT = Wanted("nest_micro_32", batch=2, seconds=1e-6, rounds=1)


@pytest.fixture(autouse=True)
def _this_process_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implementations, "keep_freed_memory", lambda: False)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)


@pytest.mark.parametrize("name", [EAGER, PREPARED, "timm"])
@pytest.mark.usefixtures("only_eager")
def test_a_turn_measures_batches_and_single_inputs(name: str) -> None:
    turn, report = build_implementation(name, SHORT)
    measured: Any = turn()
    assert set(measured) == {"batch", "single"}
    assert all(len(times) == 1 and times[0] > 0 for times in measured.values())
    assert isinstance(report, dict)
    assert report["megabytes"] is None or report["megabytes"] >= 0
    assert bool(report["choice"]) == (name == PREPARED)
    assert ("difference" in report) == (name == "timm")


@pytest.fixture
def only_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO takes seconds for each model."""
    prepare = implementations.prepare_for_inference
    monkeypatch.setattr(
        implementations, "prepare_for_inference", lambda *arguments: prepare(*arguments, ways=("eager",))
    )


def test_a_peer_with_other_logits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: Any, peer: str) -> Any:
        return model, model, lambda images: 2 * model(images)

    monkeypatch.setattr(implementations, "same_weights", wrong)
    with pytest.raises(UserError, match=r"differ from hvit's by 1.0e[+]00 at the same weights: it is another model"):
        build_implementation("timm", SHORT)


def test_a_target_is_a_name_or_a_file(tmp_path: Path) -> None:
    model = hvit.create_model("nest_micro_32", num_classes=3)
    save_weights(model, tmp_path / "mine.safetensors")
    assert open_target(Wanted(str(tmp_path / "mine.safetensors"))).config == model.config
    assert open_target(Wanted("nest_micro_32", (64, 64))).config.input_size == (64, 64)
    for wanted, says in (
        (Wanted(str(tmp_path / "mine.safetensors"), (64, 64)), "--input-size is for names"),
        (Wanted("runs/nothing"), "there is no file or folder runs/nothing"),
        (Wanted("nothing.safetensors"), "there is no file or folder nothing.safetensors"),
        (Wanted("nest_mcro_32"), "did you mean 'nest_micro_32'"),
        (Wanted("mae_hiera_micro_32"), "is no classifier"),
    ):
        with pytest.raises(UserError, match=says):
            open_target(wanted)
