"""The recipe of one's own photos starts from a pretrained encoder and takes its classes from the folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hvit.data.images.folders import FolderData
from hvit.errors import UserError
from hvit.models.probe import ProbeConfig
from hvit.recipes.photos import PHOTOS
from hvit.verbs.train import plan


def test_the_number_of_classes_is_left_to_the_folder() -> None:
    assert isinstance(PHOTOS.model, ProbeConfig)
    assert PHOTOS.model.num_classes is None
    assert PHOTOS.model.heads == ("linear",)
    assert PHOTOS.model.with_classes(7).num_classes == 7


def test_without_a_folder_of_photos_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--data\.root"):
        plan(PHOTOS)
    with pytest.raises(UserError, match="nowhere"):
        plan(replace(PHOTOS, data=FolderData(root=str(tmp_path / "nowhere"))))
