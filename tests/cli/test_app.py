"""Claims about `hvit app`: what it says before it serves, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hvit.app import server
from hvit.cli import app
from hvit.models.create import create_model
from hvit.models.weights.save import save_weights

Hvit = Callable[..., tuple[int, str, str]]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were to be served; nothing is."""
    found: list[str] = []
    monkeypatch.setattr(server, "serve", lambda app, listening: found.append(server.address_of(listening)))
    return found


def test_it_says_where_the_page_is_and_warns_of_other_machines(hvit: Hvit, colour_run: Path, served: list[str]) -> None:
    status, output, errors = hvit("app", colour_run, "--port", "0", "--device", "cpu")
    assert (status, errors) == (0, "")
    assert output == f"hvit app: {served[0]}   (Ctrl-C ends it)\n"
    assert served[0].startswith("http://127.0.0.1:")
    status, _, errors = hvit("app", colour_run, "--port", "0", "--host", "0.0.0.0", "--device", "cpu")
    assert status == 0
    assert errors.startswith("warning: --host 0.0.0.0 lets everybody who reaches this machine use the page: it has no")


def test_what_cannot_be_served_is_refused(
    hvit: Hvit, colour_run: Path, served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hvit("app", colour_run, "--port", "70000")[2] == "hvit: --port must be from 0 to 65535; got 70000\n"
    status, _, errors = hvit("app", colour_run, "--host", "no such host", "--device", "cpu")
    assert (status, "is no address of this machine" in errors) == (2, True)
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    expected = "hvit: hvit app needs starlette and uvicorn: pip install 'hvit[app]'\n"
    assert hvit("app", colour_run)[2] == expected
    assert served == []


def test_of_folds_and_of_clips_it_says_what_to_do(hvit: Hvit, colour_run: Path, served: list[str]) -> None:
    recipe = json.loads((colour_run / "recipe.json").read_bytes())
    Path("folds").mkdir()
    Path("folds", "recipe.json").write_text(json.dumps(recipe | {"data": recipe["data"] | {"folds": 2}}))
    sentence = (
        "hvit: folds is a cross-validation with a model for each fold, and a page shows one model: name one of them"
    )
    assert hvit("app", "folds")[::2] == (2, f"{sentence}, such as folds/fold_1\n")
    save_weights(create_model("hiera_micro_16x64", num_classes=2), "clips.safetensors")
    sentence = "hvit: hvit app shows images, and this model takes clips: use hvit predict and hvit explain\n"
    assert hvit("app", "clips.safetensors", "--device", "cpu")[::2] == (2, sentence)
    assert served == []
