"""The options of shards are checked."""

import pytest

from hvit.data.images.folders import FolderData
from hvit.data.shards.settings import bytes_of
from hvit.errors import UserError


@pytest.mark.parametrize(
    ("text", "size"),
    [("256MB", 256_000_000), ("2GiB", 2**31), ("1.5 kb", 1500), ("100", 100), ("3m", 3_000_000), ("1TB", 10**12)],
)
def test_sizes(text: str, size: int) -> None:
    assert bytes_of(text, "size") == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "0", "1XB", "1e9", "nan", "9" * 30])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="size must be a number of bytes such as 256MB"):
        bytes_of(text, "size")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"held_out_shards": "val"}, "held_out_shards is for data in shards"),
        ({"shards": "s", "root": "photos"}, r"root \(photos\) and shards \(s\) both"),
        ({"shards": "s", "table": "t.csv"}, "both say where the images are"),
        ({"shards": "s", "cache": "c"}, r"cache \(c\) keeps decoded images of files"),
        ({"shards": "s", "shuffle_shards": 0}, "shuffle_shards must be at least 1"),
        ({"shards": "s", "max_skipped": -1}, "must be 0 or more"),
        ({"shards": "s", "shard_cache_size": "much"}, "shard_cache_size must be a number of bytes"),
        ({"shards": "s", "split_column": "part"}, "split_column is for labels in a table"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        FolderData(**options)


def test_shards_have_label_columns_and_a_task() -> None:
    assert FolderData(shards="s", label_columns=("age",), task="regression").task == "regression"
