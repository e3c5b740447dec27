"""`hvit push` prints what it publishes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvit.cli.main import main


def test_a_folder_and_a_dry_run_need_no_network(
    colour_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    main(["push", str(colour_run), "anna/colours", "--dry-run"])
    printed = capsys.readouterr()
    assert "Nothing was written." in printed.out
    assert "none is stated; --license names one" in printed.err
    main(["push", str(colour_run), "anna/colours", "--folder", str(out), "--license", "mit", "--json"])
    made = json.loads(capsys.readouterr().out)
    assert (made["licence"], set(made["files"])) == ("mit", {file.name for file in out.iterdir()})
    with pytest.raises(SystemExit) as end:
        main(["push", str(colour_run), "anna/colours", "--folder", str(out), "--dry-run"])
    assert end.value.code == 2
    with pytest.raises(SystemExit) as end:
        main(["push", str(colour_run), "colours"])
    assert end.value.code == 2
    assert "is called owner/name" in capsys.readouterr().err


def test_no_option_takes_a_token(capsys: pytest.CaptureFixture[str], colour_run: Path) -> None:
    with pytest.raises(SystemExit):
        main(["push", str(colour_run), "anna/colours", "--token", "hf_secret"])
    assert "--token" in capsys.readouterr().err
