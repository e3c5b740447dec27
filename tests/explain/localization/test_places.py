"""Claims about where objects are: masks and boxes by the names of images, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.errors import UserError
from hvit.explain.localization.places import Places


def write_mask(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def test_a_mask_has_the_name_of_its_image_and_the_nearest_folders_count(tmp_path: Path) -> None:
    cat, dog = np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8)
    cat[1, 2], dog[3, 5] = 1, 255
    write_mask(tmp_path / "masks" / "cats" / "one.png", cat)
    write_mask(tmp_path / "masks" / "one.bmp", dog)
    places = Places(tmp_path / "masks")
    for file, place in (("a/cats/one.jpg", [[1, 2]]), ("a/dogs/one.jpg", [[3, 5]])):
        mask = places.mask(tmp_path / file, (6, 4))
        assert mask is not None
        assert np.argwhere(np.asarray(mask) == 255).tolist() == place
    assert places.mask(tmp_path / "two.jpg", (6, 4)) is None


def test_boxes_of_a_file_are_joined(tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text(
        "file,class,left,top,right,bottom\none.jpg,cat,0,0,2,1\none.jpg,cat,5,3,9,9\ncats/two.jpg,,1,1,2,2\n"
    )
    mask = Places(table).mask(Path("folder/one.jpg"), (6, 4))
    assert mask is not None
    assert np.argwhere(np.asarray(mask) == 255).tolist() == [[0, 0], [0, 1], [3, 5]]
    assert Places(table).mask(Path("dogs/two.jpg"), (6, 4)) is None
    assert Places(table).mask(Path("cats/two.jpg"), (6, 4)) is not None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file,left,top\n", "right, bottom missing"),
        ("file,left,top,right,bottom\na.jpg,1,1,x,2\n", "line 2 .* is no box"),
        ("file,left,top,right,bottom\na.jpg,1,1,1,2\n", "line 2 .* is no box"),
        ("file,left,top,right,bottom\na.jpg,1,1\n", "line 2 .* is no box"),
        ("file,left,top,right,bottom\na.jpg,nan,1,2,2\n", "line 2 .* is no box"),
    ],
)
def test_what_is_no_table_of_boxes_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text(text)
    with pytest.raises(UserError, match=sentence):
        Places(table)


def test_other_files_and_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such"):
        Places(tmp_path / "missing")
    (tmp_path / "image.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="CSV in UTF-8"):
        Places(tmp_path / "image.csv")
    write_mask(tmp_path / "masks" / "one.png", np.zeros((4, 6), np.uint8))
    with pytest.raises(UserError, match=r"has 6 x 4 pixels, and its image .* has 5 x 4"):
        Places(tmp_path / "masks").mask(Path("one.jpg"), (5, 4))
    write_mask(tmp_path / "masks" / "two.png", np.zeros((4, 6, 4), np.uint8))
    with pytest.raises(UserError, match="transparent"):
        Places(tmp_path / "masks").mask(Path("two.jpg"), (6, 4))
