"""What shards are written from: class folders and tables, with their parts and labels."""

from pathlib import Path

import pytest

from hvit.data.shards.source import check_image, open_source
from hvit.data.tables.settings import LabelOptions
from hvit.errors import UserError
from tests.data.shards.made import picture


def photos(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))


def opened(place: Path, labels: str = "auto", **options: object):
    return open_source(str(place), "", LabelOptions(table="-", **options), labels)  # pyright: ignore


def test_a_class_folder_is_one_part(tmp_path: Path) -> None:
    photos(tmp_path, "cat/a.png", "cat/b.PNG", "dog/c.png")
    source = opened(tmp_path)
    (part,) = source.parts
    assert (part.name, source.spec.names, part.labels.tolist()) == ("", ("cat", "dog"), [0, 0, 1])
    assert [part.title(number) for number in range(3)] == ["cat/a.png", "cat/b.PNG", "dog/c.png"]
    assert part.content(1) == (picture(1), "png")


def test_folders_of_parts_are_parts(tmp_path: Path) -> None:
    photos(tmp_path, *(f"{part}/{name}.png" for part in ("train", "val", "test") for name in ("cat/a", "dog/b")))
    source = opened(tmp_path)
    assert [(part.name, len(part), part.title(0)) for part in source.parts] == [
        ("train", 2, "cat/a.png"), ("val", 2, "cat/a.png"), ("test", 2, "cat/a.png")]  # fmt: skip


def test_a_folder_without_classes_is_unlabelled(tmp_path: Path) -> None:
    photos(tmp_path, "a.png", "sub/b.png")
    assert opened(tmp_path).spec.names == ("unlabelled",)
    photos(tmp_path / "classes", "cat/a.png", "dog/b.png")
    assert opened(tmp_path / "classes", "none").spec.names == ("unlabelled",)


def test_a_table_gives_parts_and_labels_of_any_kind(tmp_path: Path) -> None:
    photos(tmp_path, "a.png", "b.png", "c.png", "d.png")
    (tmp_path / "t.csv").write_text("path,tags,split\na.png,x|y,train\nb.png,x,train\nc.png,y|x,val\nd.png,y,train\n")
    source = opened(tmp_path / "t.csv")
    assert source.spec.kind == "multi"
    assert [(part.name, part.labels.tolist()) for part in source.parts] == [
        ("train", [[1, 1], [1, 0], [0, 1]]), ("val", [[1, 1]])]  # fmt: skip


def test_a_table_that_holds_images_gives_their_bytes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    values = {"image": [{"bytes": picture(number), "path": None} for number in range(3)], "label": [0, 1, 0]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    datasets.Dataset.from_dict(values, features=features).save_to_disk(str(tmp_path / "saved"))
    (part,) = opened(tmp_path / "saved").parts
    assert part.content(2) == (picture(2), "png")
    assert part.labels.tolist() == [0, 1, 0]


def test_the_digest_changes_with_names_labels_and_sizes(tmp_path: Path) -> None:
    photos(tmp_path / "p", "cat/a.png", "cat/b.png", "dog/c.png")
    digests = {opened(tmp_path / "p").digest()}
    assert opened(tmp_path / "p").digest() in digests
    (tmp_path / "p/cat/a.png").write_bytes(picture(0) + b"more")
    digests.add(opened(tmp_path / "p").digest())
    (tmp_path / "p/cat/a.png").rename(tmp_path / "p/dog/a.png")
    digests.add(opened(tmp_path / "p").digest())
    assert len(digests) == 3


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    photos(tmp_path, "cat/a.png", "dog/b.npy", "dog/c.png")
    (tmp_path / "dog/c.png").write_bytes(b"")
    (part,) = opened(tmp_path).parts
    with pytest.raises(UserError, match=r"b.npy is an array of NumPy"):
        part.content(1)
    with pytest.raises(UserError, match="the file is empty"):
        part.content(2)


CUT = picture(0, 256, "JPEG")[:700]


@pytest.mark.parametrize(
    ("content", "whole", "is_good"),
    [(picture(0), True, True), (CUT, False, True), (CUT, True, False), (b"text" * 9, False, False)],
)
def test_images_are_looked_at(content: bytes, whole: bool, is_good: bool) -> None:
    if is_good:
        check_image(content, "a.png", whole)
        return
    with pytest.raises(UserError, match=r"cannot read a\.png"):
        check_image(content, "a.png", whole)
