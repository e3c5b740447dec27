"""An exported model of clips says without torch, of folders of frames and arrays, what its weights say."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hvit.cli.main import main as whole
from hvit.data.preprocess import Preprocess
from hvit.data.sampling import Sampling
from hvit.errors import UserError
from hvit.export.formats import FORMATS
from hvit.export.graph import classifier_graph
from hvit.models.weights.open import open_any
from hvit.runtime.clips import predict_clips
from hvit.runtime.command import main
from hvit.runtime.open import open_exported
from tests.models.test_export import CONFIGS, TALKATIVE
from tests.runtime.test_command import answers, without_numbers, without_torch
from tests.verbs.test_export import weights_of

pytestmark = TALKATIVE


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> Path:
    """A folder with weights, exact.onnx (Pillow resizes) and inside.onnx (torch does with the weights), and `clips`."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("clip_models")
    for name, interpolation in (("exact", "bicubic"), ("inside", "bilinear")):
        preprocess = Preprocess(
            (4, 16, 16), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), 0.9, interpolation, Sampling(4, 2, target_fps=30.0)
        )
        stored = asdict(preprocess)
        weights = weights_of(
            CONFIGS["hiera clip"], folder, name, classes=("a", "b", "c"), preprocess=stored,
            confidence={"temperature": 1.7, "unsure_below": 0.5, "outliers": None},
        )  # fmt: skip
        graph = classifier_graph(
            open_any(weights).model, ("logits",), preprocess, stored, inside=name == "inside", classes=("a", "b", "c"),
            temperature=1.7, unsure_below=0.5,
        )  # fmt: skip
        FORMATS["onnx"].write(graph, folder / f"{name}.onnx", [])
    frames = folder / "clips" / "frames"
    frames.mkdir(parents=True)
    random = np.random.default_rng(1)
    for number in range(11):
        Image.fromarray(random.integers(0, 256, (30, 44, 3), dtype=np.uint8)).save(frames / f"frame{number}.png")
    np.save(folder / "clips" / "array.npy", np.load(clip_folder / "dark" / "0.npy"))
    return folder


@pytest.mark.parametrize(("name", "near"), [("exact", 5e-6), ("inside", 0.01)])
def test_clips_are_predicted_without_torch_as_with_the_weights(
    name: str, near: float, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = (str(clips / "clips"), "--views", "3", "--top-k", "2", "--json")
    done = without_torch("predict", str(clips / f"{name}.onnx"), *more, "--csv", str(tmp_path / "answers.csv"))
    assert done.returncode == 0, done.stderr
    whole(["predict", str(clips / f"{name}.safetensors"), *more])
    found, wanted = answers(done.stdout), answers(capsys.readouterr().out)
    assert [without_numbers(one) for one in found] == [without_numbers(one) for one in wanted]
    assert shares(found) == pytest.approx(shares(wanted), abs=near)
    assert len(found[0]["over_time"]) == 3  # type: ignore[arg-type]
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 3


def shares(value: Any) -> list[float]:
    """All probabilities in nested values."""
    if isinstance(value, dict):
        return [value["probability"]] if "probability" in value else shares(list(value.values()))
    return [share for one in value for share in shares(one)] if isinstance(value, list) else []


def test_a_video_needs_its_decoder_and_the_other_clips_are_answered(clips: Path) -> None:
    video = clips / "film.mp4"
    video.write_bytes(b"no film")
    array = str(clips / "clips" / "array.npy")
    done = without_torch("predict", str(clips / "exact.onnx"), str(video), array)
    assert done.returncode == 2
    assert "read by PyAV, which is not installed" in done.stderr
    assert done.stdout.startswith(array)


def test_tiles_are_refused_and_images_are_no_clips(
    clips: Path, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["predict", str(clips / "exact.onnx"), str(clips / "clips"), "--tiles", "20"])
    assert "--tiles is for images, and this model takes clips: omit it" in capsys.readouterr().err
    with pytest.raises(UserError, match="takes images, not clips"):
        next(predict_clips(open_exported(exported / "model.onnx"), [], 1, 1, pytest.fail))
