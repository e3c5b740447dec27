"""What a user names stands for shards in parts."""

from pathlib import Path

import pytest

from hvit.data.shards.index import INDEX
from hvit.data.shards.places import Place, is_streamed, parts_at, refuse_shared, with_full_path
from hvit.errors import UserError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_of_shards_is_one_part(tmp_path: Path) -> None:
    touch(tmp_path / "b.tar", tmp_path / "a.TAR", tmp_path / ".hidden.tar", tmp_path / "notes.txt")
    assert parts_at(str(tmp_path)) == {"": [Place(str(tmp_path), ("a.TAR", "b.tar"))]}
    touch(tmp_path / INDEX)
    assert parts_at(f"{tmp_path}/") == {"": [Place(str(tmp_path), None)]}


@pytest.mark.parametrize(
    ("folders", "parts"),
    [(("train",), {"train"}), (("train", "val"), {"train", "val"}), (("train", "test"), {"train", "val"}),
     (("train", "valid", "test"), {"train", "val", "test"})],
)  # fmt: skip
def test_folders_are_parts_as_of_class_folders(tmp_path: Path, folders: tuple[str, ...], parts: set[str]) -> None:
    touch(*(tmp_path / folder / "0.tar" for folder in folders))
    assert set(parts_at(str(tmp_path))) == parts


def test_patterns_are_lists_of_shards_by_folder(tmp_path: Path) -> None:
    pytest.importorskip("braceexpand")
    assert parts_at("a/{08..10}.tar::b/x.tar::https://h/{p,q}.tar") == {
        "": [Place("a", ("08.tar", "09.tar", "10.tar")), Place("b", ("x.tar",)), Place("https://h", ("p.tar", "q.tar"))]
    }


def test_folders_and_shards_are_not_mixed(tmp_path: Path) -> None:
    touch(tmp_path / "train" / "0.tar", tmp_path / "val" / "0.tar")
    with pytest.raises(UserError, match="name one kind"):
        parts_at(f"{tmp_path}::{tmp_path}/train/0.tar")


def test_a_shard_is_not_in_two_parts() -> None:
    with pytest.raises(UserError, match=r"a/1.tar is to train on and held out"):
        refuse_shared([Place("a", ("0.tar", "1.tar"))], [Place("a", ("1.tar",))])
    refuse_shared([Place("a", ("0.tar",))], [Place("b", ("0.tar",))])


def test_places_hold_wherever_a_run_is_resumed_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert with_full_path("s/{0..9}.tar::https://h/x.tar") == f"{tmp_path}/s/{{0..9}}.tar::https://h/x.tar"
    assert with_full_path("hf:ylecun/mnist") == "hf:ylecun/mnist"


def test_what_is_streamed() -> None:
    assert is_streamed("hf:ylecun/mnist")
    assert is_streamed("data/{0..9}.parquet")
    assert not is_streamed("data/0.tar")
