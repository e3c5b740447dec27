"""The verb that writes shards asks for what it needs in one sentence."""

from pathlib import Path

import pytest

from hvit.errors import UserError
from hvit.verbs import shards
from hvit.verbs.shards import ShardRequest


@pytest.mark.parametrize(
    ("size", "sentence"), [("much", "--size must be a number of bytes"), ("1KB", "at least 10,240")]
)
def test_an_impossible_size_is_refused(tmp_path: Path, size: str, sentence: str) -> None:
    pytest.importorskip("webdataset")
    with pytest.raises(UserError, match=sentence):
        shards.write(ShardRequest(str(tmp_path), tmp_path / "out", size))
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs webdataset and pyarrow: pip install 'hvit\[shards\]'"):
        shards.write(ShardRequest(str(tmp_path), tmp_path / "out"))
