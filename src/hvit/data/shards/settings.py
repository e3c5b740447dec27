"""The options of data that lies in shards, local or remote."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hvit.errors import UserError

_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4,
          "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip


@dataclass(frozen=True)
class ShardOptions:
    """Where shards lie, and how they are read in training."""

    shards: str = ""
    """Shards instead of a folder: a folder that `hvit shards` wrote, or tar files in the layout of WebDataset, such as
    "OUT/{000000..000009}.tar"; a path, or a URL that fsspec opens (https, s3, gs, ...). Parquet files, and
    hf:NAME for a data set of Hugging Face, are streamed."""
    held_out_shards: str = ""
    """Shards that are held out; default: the folder val next to the folder train, or else a share of the samples."""
    shuffle_shards: int = 32
    """Shards that are shuffled together: shards come in random order, and samples in random order within so many."""
    shard_streams: int = 0
    """Parts of a batch that read shards of their own, so that no process needs them all; it divides the batch size;
    0: as many as divide it, up to 16."""
    max_skipped: int = 100
    """Samples that may be skipped, because they are damaged or have no label, before the run stops."""
    shard_cache: str = ""
    """Folder for the copies of remote shards; default: a folder of this user among the temporary files."""
    shard_cache_size: str = "32GB"
    """Most bytes of these copies; the ones that were used longest ago are removed."""


def check_shard_options(options: ShardOptions) -> None:
    """Raises UserError for options that cannot be used together."""
    if options.held_out_shards and not options.shards:
        raise UserError("held_out_shards is for data in shards: name those to train on with shards (--data.shards)")
    if options.shuffle_shards < 1:
        raise UserError(f"shuffle_shards must be at least 1, not {options.shuffle_shards}")
    if options.shard_streams < 0 or options.max_skipped < 0:
        raise UserError(
            f"shard_streams and max_skipped must be 0 or more, not {options.shard_streams} and {options.max_skipped}"
        )
    bytes_of(options.shard_cache_size, "shard_cache_size")


def bytes_of(text: str, name: str) -> int:
    """A size such as 256MB or 1.5GiB in bytes. name: of the option. Raises UserError for anything else."""
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?I?B?)\s*", text.upper())
    unit = _UNITS.get(match[2] if match[2] in _UNITS else f"{match[2]}B") if match else None
    if match is None or unit is None or (found := round(float(match[1]) * unit)) < 1:
        raise UserError(f"{name} must be a number of bytes such as 256MB or 2GiB; got {text[:80]!r}")
    return found
