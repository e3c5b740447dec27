"""Checkpoints of shards are read by any number of processes, are whole or absent, and nothing in them is executed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorProperties, TensorStorageMetadata

from hvit.training.checkpoint import has_checkpoint, newest_checkpoint, save_checkpoint
from hvit.training.sharded import _digest, divided, read_sharded, with_shards
from hvit.training.state_file import STATE, write_state
from tests.training.divided import work


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.long
def test_checkpoints_of_four_processes_are_read_by_two_and_by_one_bit_for_bit(tmp_path: Path) -> None:
    four = work(tmp_path, 4, 2, {"parallel": "hsdp", "shard_size": 2})
    two = work(tmp_path, 2, 4, {"parallel": "fsdp"})
    assert same(two["before"], four["after"])
    assert not same(two["after"], four["after"])
    copies = work(tmp_path, 2, 5, {"parallel": "ddp"})
    assert same(copies["before"], two["after"])
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step_000000004.sharded", "step_000000005.checkpoint"]
    one = work(tmp_path, 1, 6, {"parallel": "fsdp"})
    assert same(one["before"], copies["after"])
    back = work(tmp_path, 2, 7, {"parallel": "fsdp"})
    assert same(back["before"], one["after"]), "a file of one process is read by shards"


def shards(folder: Path, step: int, listed: object = None, **files: bytes) -> Path:
    """A checkpoint of shards, with a list of them and other files; as far as checksums go it is intact."""
    path = folder / "checkpoints" / f"step_{step:09d}.sharded"
    path.mkdir(parents=True)
    content = {".metadata": pickle.dumps(listed if listed is not None else Metadata({}, storage_data={}))}
    content |= {f"{name}.distcp": value for name, value in files.items()}
    for name, value in content.items():
        (path / name).write_bytes(value)
    write_state(path / STATE, {"step": step, "files": {name: list(_digest(path / name)) for name in content}})
    return path


def test_a_damaged_shard_is_passed_over_for_an_older_checkpoint(tmp_path: Path) -> None:
    shards(tmp_path, 1, __0_0=b"one")
    path = shards(tmp_path, 2, __0_0=b"two", __1_0=b"more")
    state, damaged = newest_checkpoint(tmp_path)
    assert state is not None
    assert (state["step"], state["shards"], damaged) == (2, path, [])
    (path / "__1_0.distcp").write_bytes(b"MORE")
    state, damaged = newest_checkpoint(tmp_path)
    assert state is not None
    assert (state["step"], damaged) == (1, [path])


@pytest.mark.parametrize("harm", ["missing", "link", "no state"])
def test_what_is_not_all_there_is_damaged(tmp_path: Path, harm: str) -> None:
    path = shards(tmp_path, 1, __0_0=b"one")
    shard = path / "__0_0.distcp"
    if harm == "no state":
        (path / STATE).unlink()
    else:
        shard.rename(tmp_path / "elsewhere")
    if harm == "link":
        shard.symlink_to(tmp_path / "elsewhere")
    assert read_sharded(path) is None


def test_a_folder_that_is_being_written_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / ".step_000000004.sharded.unfinished").mkdir(parents=True)
    assert not has_checkpoint(tmp_path)


def test_two_checkpoints_are_kept_whatever_their_kind(tmp_path: Path) -> None:
    shards(tmp_path, 1)
    save_checkpoint(tmp_path, 2, {"step": 2})
    shards(tmp_path, 3)
    save_checkpoint(tmp_path, 4, {"step": 4})
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step_000000003.sharded", "step_000000004.checkpoint",
    ]  # fmt: skip


class Hostile:
    """Executes something when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('executed')",)


def listed(path: str) -> Metadata:
    """A list of one tensor that is in a file."""
    tensor = TensorStorageMetadata(TensorProperties(), torch.Size([2]), [])
    return Metadata({"networks/model/a": tensor}, storage_data={MetadataIndex("a"): _StorageInfo(path, 0, 1)})


@pytest.mark.parametrize(
    ("hostile", "sentence"),
    [
        (Hostile(), "builtins.exec lists no tensors"), (listed("../../secret"), "files of something else"),
        ([1], "no list of shards"), (listed("__0_0.distcp"), "networks/model/a is not in this run"),
    ],
)  # fmt: skip
def test_a_hostile_list_of_shards_is_refused(tmp_path: Path, hostile: object, sentence: str) -> None:
    state = read_sharded(shards(tmp_path, 1, hostile, __0_0=b"one"))
    assert state is not None
    with pytest.raises(ValueError, match=sentence):
        with_shards(state, lambda path: None)


def test_what_is_not_sharded_stays_in_the_state_as_a_copy() -> None:
    weights = torch.ones(2)
    rest, tensors = divided({"step": 1, "networks": {"model": {"a": weights}}})
    weights.zero_()
    assert tensors == {}
    assert rest["step"] == 1
    assert rest["networks"]["model"]["a"].tolist() == [1, 1]
