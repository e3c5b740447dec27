"""`hvit shards` writes what `hvit train --data.shards` trains on, and both end in one sentence where they cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvit.cli.main import main
from hvit.errors import UserError
from hvit.verbs import shards as verb
from tests.data.shards.made import picture

pytest.importorskip("webdataset")
pytest.importorskip("pyarrow")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(24):
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    (tmp_path / "photos" / "cat" / "bad.png").write_bytes(b"no image")
    return tmp_path / "photos"


def test_it_says_what_it_wrote_and_what_it_skipped(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["shards", str(photos), str(tmp_path / "out"), "--size", "20KB"]
    main(words)
    found = capsys.readouterr()
    assert "24 samples in" in found.out
    assert "1 images skipped" in found.out
    assert "cat/bad.png is skipped" in found.err
    main([*words, "--json"])
    (part,) = json.loads(capsys.readouterr().out)["parts"]
    assert part["found"] == part["shards"] > 3
    with pytest.raises(SystemExit) as end:
        main([*words[:-1], "30KB"])
    assert end.value.code == 2
    assert "is not empty, and holds no shards of the same source" in capsys.readouterr().err


def test_a_full_disk_says_that_the_same_command_goes_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise UserError("out/000000.tar cannot be written: No space left on device")

    monkeypatch.setattr(verb, "write", full)
    with pytest.raises(SystemExit):
        main(["shards", str(photos), str(tmp_path / "out")])
    assert "No space left on device; what is written stays, and the same command goes on" in capsys.readouterr().err


def test_a_recipe_plans_on_shards(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    main(["shards", str(photos), str(tmp_path / "out"), "--size", "20KB"])
    words = ["train", "nest_micro_folder", "--data.shards", str(tmp_path / "out"), "--data.shuffle-shards", "2",
             "--loop.batch-size", "4", "--loop.device", "cpu"]  # fmt: skip
    main([*words, "--dry-run"])
    assert "folder: 20 images to train on, 4 held out, 2 classes" in capsys.readouterr().err
