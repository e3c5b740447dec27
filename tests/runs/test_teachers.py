"""Teachers are opened from run folders, files and names, and compared with the data by the names of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save

import hvit
from hvit.errors import UserError
from hvit.models.weights.save import save_weights
from hvit.models.weights.teacher import teacher_file
from hvit.runs.teachers import class_order, open_teacher
from tests.hub_server import HubServer

SMALL: dict[str, Any] = {"input_size": 16, "dims": (8, 8, 8, 8), "depths": (1, 1, 1, 1)}


def written(path: Path, classes: list[str], **fields) -> str:
    torch.manual_seed(0)
    model = hvit.create_model("resnet_micro_32", num_classes=len(classes) or 3, **SMALL, **fields)
    save_weights(model, path, classes=classes)
    return str(path)


def test_classes_are_matched_by_their_names(tmp_path: Path) -> None:
    teacher = open_teacher(written(tmp_path / "a.safetensors", ["cat", "dog", "eel"]))
    assert class_order(teacher, ("eel", "cat", "dog")) == [2, 0, 1]
    with pytest.raises(UserError, match=r"lacks fox and has eel, which the data lacks; fit a head to it first"):
        class_order(teacher, ("cat", "dog", "fox"))
    with pytest.raises(UserError, match=r"has eel, which the data lacks"):
        class_order(teacher, ("cat", "dog"))
    nameless = open_teacher(written(tmp_path / "b.safetensors", []))
    assert class_order(nameless, ("x", "y", "z")) == [0, 1, 2]
    with pytest.raises(UserError, match=r"has 3 classes, and the data 2"):
        class_order(nameless, ("x", "y"))


def test_a_teacher_that_is_not_there_or_makes_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no teacher nowhere: give a run folder"):
        open_teacher("nowhere")
    generator = hvit.create_model("nest_generator_digits_32")
    save_weights(generator, tmp_path / "g.safetensors")
    with pytest.raises(UserError, match="makes images"):
        open_teacher(str(tmp_path / "g.safetensors"))


def test_a_model_of_timm_is_a_teacher_by_its_name_on_the_hub(hub_server: HubServer) -> None:
    model = timm.create_model("test_resnet").eval()
    hub_server.add("timm/test_resnet.r160_in1k", {"model.safetensors": save(model.state_dict())})
    teacher = open_teacher("timm/test_resnet")
    assert (teacher.name, teacher.num_classes) == ("timm/test_resnet", 1000)
    images = torch.randn(2, 3, *teacher.preprocess.input_size)
    with torch.no_grad():
        torch.testing.assert_close(teacher.model(images), model(images))
    with pytest.raises(UserError, match="has 1000 classes, and the data 2; fit a head"):
        class_order(teacher, ("a", "b"))


def test_a_changed_file_is_another_teacher(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    first = open_teacher(written(path, ["a", "b", "c"]))
    assert open_teacher(str(path)) is first
    written(path, ["a", "b"])
    assert open_teacher(str(path)).checksum != first.checksum


def test_an_autoencoder_has_features_and_no_classes(tmp_path: Path) -> None:
    model = hvit.create_model("mae_hiera_micro_32")
    save_weights(model, tmp_path / "m.safetensors")
    teacher = open_teacher(str(tmp_path / "m.safetensors"))
    logits, features = teacher(torch.zeros(1, 3, 32, 32))
    assert logits is None
    assert features is not None
    assert features.shape[1] == teacher.feature_dim
    with pytest.raises(UserError, match="predicts no classes"):
        class_order(teacher, ("a", "b"))


@pytest.mark.skipif(teacher_file() is None, reason="the extra `teacher` is not installed")
def test_the_extra_is_a_teacher_of_features() -> None:
    teacher = open_teacher("teacher")
    assert (teacher.num_classes, teacher.feature_dim) == (1000, 1280)
    with pytest.raises(UserError, match="has 1000 classes, and the data 2"):
        class_order(teacher, ("a", "b"))
