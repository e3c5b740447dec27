"""Data sets of Hugging Face are read as tables: saved ones, Parquet with images inside, and names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hvit.data.identity import identity_of
from tests.data.tables.made import open_table, refusal

datasets = pytest.importorskip("datasets")


def made(count: int = 12, **columns: Any) -> Any:
    """A data set of small pictures, with the number of each as its brightness."""
    pictures = [Image.new("RGB", (8, 8), (number, 0, 0)) for number in range(count)]
    types = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["zebra", "10", "ant"]),
        "tags": datasets.Sequence(datasets.ClassLabel(names=["x", "y"])),
        "price": datasets.Value("float32"),
    }
    values = {
        "label": [number % 2 for number in range(count)],
        "tags": [[[0], [1], [0, 1], []][number % 4] for number in range(count)],
        "price": [number + 0.5 for number in range(count)],
    }
    names = columns.get("names", ("label",))
    features = datasets.Features({"image": types["image"], **{name: types[name] for name in names}})
    return datasets.Dataset.from_dict({"image": pictures, **{name: values[name] for name in names}}, features=features)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", unreachable)


def test_a_saved_folder_is_read_with_its_classes(tmp_path: Path) -> None:
    made().save_to_disk(str(tmp_path / "saved"))
    splits = open_table(tmp_path / "saved")
    assert splits.classes == ("10", "zebra")
    assert (len(splits.train), len(splits.held_out)) == (10, 2)
    image, target = splits.train.read(0, 0)
    assert isinstance(image, Image.Image)
    number = np.asarray(image)[0, 0, 0]
    assert target == 1 - number % 2
    assert splits.train.name(0) == f"row/{number:07}"
    assert identity_of(splits) == identity_of(open_table(tmp_path / "saved"))


@pytest.mark.parametrize(("column", "kind"), [("tags", "multi"), ("price", "regression"), ("label", "single")])
def test_the_types_of_columns_say_what_labels_are(tmp_path: Path, column: str, kind: str) -> None:
    made(names=("label", "tags", "price")).to_parquet(str(tmp_path / "a.parquet"))
    splits = open_table(tmp_path / "a.parquet", label_columns=(column,))
    assert splits.labels.kind == kind
    assert "with the images inside" in " ".join(splits.notes)
    assert splits.train.read(3, 0)[0].size == (8, 8)  # pyright: ignore[reportAttributeAccessIssue]


def test_parts_are_the_split(tmp_path: Path) -> None:
    parts = {"train": made(), "validation": made(4), "test": made(6), "unsupervised": made(5)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    splits = open_table(tmp_path / "saved")
    assert splits.test is not None
    assert (len(splits.train), len(splits.held_out), len(splits.test)) == (12, 4, 6)
    assert splits.test.name(5) == "test/0000005"
    notes = " ".join(splits.notes)
    assert "not used: unsupervised" in notes
    assert "4 held-out images have the same content as training images" in notes


def test_damaged_images_and_missing_labels_are_named(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    good = made()
    files = [good.cast_column("image", datasets.Image(decode=False))[row]["image"] for row in range(12)]
    files[3] = {"bytes": b"no image", "path": None}
    labels = [0, 1] * 5 + [-1, 0]
    data = datasets.Dataset.from_dict({"image": files, "label": labels}, features=features)
    data.save_to_disk(str(tmp_path / "saved"))
    splits = open_table(tmp_path / "saved")
    assert len(splits.train) + len(splits.held_out) == 10
    notes = " ".join(splits.notes)
    assert "row/0000003" in notes
    assert "1 row has no label" in notes


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "dataset_info.json").write_text("{")
    assert "broken cannot be opened" in refusal(tmp_path / "broken")
    datasets.DatasetDict(test=made()).save_to_disk(str(tmp_path / "only_test"))
    assert "has no part called train; its parts are test" in refusal(tmp_path / "only_test")
    assert "hf: stands before the name" in refusal(Path("hf:"))

    def offline(*_: object) -> None:
        raise ConnectionError("Couldn't reach the Hub\nmore")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    sentence = refusal(Path("hf:some/set"))
    assert sentence == (
        "the data set some/set of Hugging Face cannot be opened: it is not in the cache, and there is no network"
    )


def test_a_name_with_a_configuration_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def load(*arguments: object) -> Any:
        asked.extend(arguments)
        return datasets.DatasetDict(train=made(), test=made(4))

    monkeypatch.setattr(datasets, "load_dataset", load)
    splits = open_table(Path("hf:some/set:plain"))
    assert asked == ["some/set", "plain"]
    assert (len(splits.train), len(splits.held_out)) == (12, 4)
