"""The pages of a TIFF are counted, and kinds that are not read are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvit.data.images.reading import read_image
from hvit.errors import UserError
from tests.data.deep_files import packed_page, scaled, stack, tiff


@pytest.mark.parametrize(("bits", "photometric", "order"), [(10, 1, "<"), (14, 1, "<"), (12, 0, "<"), (12, 1, ">")])
def test_kinds_that_are_not_read_are_named(tmp_path: Path, bits: int, photometric: int, order: str) -> None:
    found = packed_page(scaled(2**bits - 1, "u2"), bits, photometric=photometric)
    with pytest.raises(UserError, match=rf"TIFF of a kind that is not read: .* of {bits} bits .*12 or 16 bits of grey"):
        read_image(tiff(tmp_path / "odd.tif", [found], order))


def test_a_stack_of_pages_is_refused_unless_one_is_chosen(tmp_path: Path) -> None:
    file = stack(tmp_path / "stack.tif")
    with pytest.raises(UserError, match=r"it holds 3 pages: choose one for all files, such as --data\.page 1"):
        read_image(file)
    assert [np.asarray(read_image(file, 1, page=number))[0, 0] for number in (1, 2, 3)] == [60, 120, 180]
    with pytest.raises(UserError, match="fewer than 4 pages"):
        read_image(file, page=4)


def test_smaller_versions_and_masks_are_no_pages(tmp_path: Path) -> None:
    assert np.asarray(read_image(stack(tmp_path / "a.tif", subfile=1), 1))[0, 0] == 60
    assert np.asarray(read_image(stack(tmp_path / "a.tif", subfile=4), 1))[0, 0] == 60
