"""Explaining many files: what cannot be read is reported, and the others are explained."""

from __future__ import annotations

from pathlib import Path

from hvit.verbs.classifier import open_classifier
from hvit.verbs.explain import explain_clips


def test_clips_that_cannot_be_read_are_reported_and_the_others_explained(
    clip_run: Path, clip_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.npy").write_bytes(b"no array")
    files, refused = [tmp_path / "broken.npy", clip_folder / "light" / "1.npy"], []
    (answer,) = explain_clips(open_classifier(clip_run), files, None, 2, tmp_path / "out", refused.append)
    assert len(refused) == 1
    assert "broken.npy" in refused[0]
    assert len(answer["classes"]) == 2
    assert all(Path(name).is_file() for name in answer["pictures"])
