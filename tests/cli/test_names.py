"""Names from files, of classes and of images, are shown escaped, and never break a command."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from hvit.cli.printing import encode_anything, print_json_lines, say
from hvit.markup import shown
from hvit.models.create import create_model
from hvit.models.weights.save import save_weights

Run = Callable[..., tuple[int, str, str]]
HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07",
    "a\nhvit: fake\r",
    "\u202egpj.cat\u2066",
    "</script><b>:dog:[red]",
    "\x9b31m\u200f",
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_weights(create_model("nest_micro_32", num_classes=len(HOSTILE)), path, classes=HOSTILE)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 40), "red").save(path)
    return path


def assert_safe(text: str) -> None:
    assert all(shown(line) == line for line in text.split("\n"))


def test_class_names_are_escaped_in_answers_and_exact_in_json(hvit: Run, weights: Path, image: Path) -> None:
    status, out, err = hvit("predict", weights, image)
    assert status == 0
    assert_safe(out + err)
    assert len(out.splitlines()) == 1
    assert all(shown(name) in out for name in HOSTILE)
    status, out, err = hvit("predict", weights, image, "--json")
    assert_safe(out + err)
    assert {one["class"] for one in json.loads(out)["classes"]} == set(HOSTILE)


@pytest.mark.long
def test_class_names_are_escaped_in_explanations_and_errors(hvit: Run, weights: Path, image: Path) -> None:
    status, out, err = hvit("explain", weights, image, "--classes", *HOSTILE[:4])
    assert status == 0, err
    assert_safe(out + err)
    page = Path("explanations/index.html").read_text(encoding="utf-8")
    assert_safe(page)
    assert page.count("<script>") == page.count("</script>") == 1
    assert all(name not in page for name in HOSTILE)
    status, _, err = hvit("explain", weights, image, "--classes", "fish\x1b[2J")
    assert status == 2
    assert_safe(err)
    assert len(err.splitlines()) == 1
    status, _, err = hvit("explain", weights, image, "--classes", shown(HOSTILE[2]))
    assert status == 0, "as it is printed"


@pytest.mark.long
def test_class_names_are_escaped_in_an_evaluation_and_its_report(hvit: Run, tmp_path: Path) -> None:
    from dataclasses import replace

    from hvit.data.images.folders import FolderData
    from hvit.recipes import get_recipe
    from hvit.verbs.train import train

    names = ("\x1b[2Jone", "\u202etwo\nlines")
    for number, name in enumerate(names):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(5):
            image = Image.new("RGB", (40, 40), ("red", "blue")[number])
            image.save(tmp_path / "photos" / name / f"\x1b{index}.png")
    recipe = get_recipe("nest_micro_folder")
    loop = replace(recipe.loop, max_steps=1, epochs=1, batch_size=4, workers=0, device="cpu")
    train(replace(recipe, data=FolderData(root=str(tmp_path / "photos")), loop=loop), tmp_path / "run")
    status, out, err = hvit("evaluate", tmp_path / "run")
    assert status == 0
    assert_safe(out + err)
    assert r"\x1b[2Jone" in out
    assert "top-1" in out
    assert "top-5" not in out, "with two classes every class is among the first five"
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert_safe(page)
    assert r"\x1b[2Jone/\x1b" in page, "names of files in captions"


@pytest.mark.parametrize(
    "name",
    [
        "x" * 251 + ".png",
        "\N{HIRAGANA LETTER A}" * 83 + "a.png",
        "\x1b" * 200 + ".png",
        "b'\\xff\\xfe".join(("", ".png")),
        os.fsdecode(b"\xff\xfe\x80.png"),
        ":dog: [red]x[.png",
        "-n.png",
    ],
    ids=["251 letters", "wide letters", "controls", "backslashes", "no text", "markup", "dash"],
)
def test_an_image_of_any_name_is_explained_and_its_names_fit(hvit: Run, weights: Path, image: Path, name: str) -> None:
    image.rename(name)
    status, out, err = hvit("explain", weights, f"./{name}", "--top-k", "1", "--json")
    assert status == 0, err
    assert_safe(out + err)
    answer = json.loads(out)
    assert os.fsencode(answer["file"]) == os.fsencode(name)
    for written in answer["pictures"]:
        assert Path(written).is_file()
        assert len(os.fsencode(Path(written).name)) <= 200, "with room for the name it has until it is whole"
    status, out, err = hvit("predict", weights, f"./{name}")
    assert status == 0, err
    assert_safe(out + err)
    assert out.startswith(f"{shown(name)}: ")


def test_an_output_that_cannot_write_a_name_escapes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    encode_anything()
    say("犬.png: dog")
    print_json_lines([{"file": "犬.png"}])
    assert (
        written.getvalue()
        == rb"""\u72ac.png: dog
{"file": "\u72ac.png"}
"""
    )
