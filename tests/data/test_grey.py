"""Images of more than 8 bits a channel are read from black to white by one stated rule, in training and afterwards."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tyro
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from hvit.data import survey
from hvit.data.grey import GreyRange
from hvit.data.images import deep
from hvit.data.images.reading import read_image
from hvit.data.open import ClipData, FolderData, open_data
from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.models.build import build_network
from hvit.models.weights.save import save_weights
from hvit.recipe import read_recipe, write_recipe
from hvit.recipes import get_recipe
from hvit.runs import scoring
from hvit.runs.kinds import kind_of
from hvit.training.distribute import processes
from hvit.verbs import evaluate, train
from hvit.verbs.classifier import Classifier
from hvit.verbs.predict import predict

RAMP = np.arange(800).reshape(20, 40) / 799


def tiff(path: Path, pages: list[dict[int, Any]], order: str = "<") -> Path:
    """Writes a TIFF: each page has numbers for its tags, and its pixels as bytes under 273."""
    body, nexts = bytearray(b"II*\0" if order == "<" else b"MM\0*"), []
    body += b"\0\0\0\0"
    nexts.append(4)
    for page in pages:
        raw = page[273]
        place = len(body)
        body += raw + b"\0" * (len(raw) % 2)
        tags: list[tuple[int, tuple[int, ...]]] = []
        for tag, value in sorted({**page, 273: place, 279: len(raw)}.items()):
            tags.append((tag, value if isinstance(value, tuple) else (value,)))
        entries = b""
        for tag, values in tags:
            kind = 4 if max(values) > 65535 or tag in (273, 279) else 3
            content = struct.pack(f"{order}{len(values)}{'I' if kind == 4 else 'H'}", *values)
            if len(content) > 4:
                where = len(body)
                body += content
                content = struct.pack(f"{order}I", where)
            entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + content.ljust(4, b"\0")
        struct.pack_into(f"{order}I", body, nexts[-1], len(body))
        body += struct.pack(f"{order}H", len(tags)) + entries
        nexts.append(len(body))
        body += bytes(4)
    path.write_bytes(body)
    return path


def page(values: np.ndarray, bits: int, **tags: Any) -> dict[int, Any]:
    names = {"photometric": 262, "format": 339, "subfile": 254, "samples": 277, "orientation": 274, "extra": 338}
    found = {256: values.shape[1], 257: values.shape[0], 258: bits, 259: 1, 262: 1, 277: 1, 278: values.shape[0]}
    return found | {273: values.tobytes()} | {names[name]: value for name, value in tags.items()}


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """Values in as few bits as they have, rows beginning at a byte."""
    digits = (values.astype(np.int64)[..., None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(digits.reshape(len(values), -1).astype(np.uint8), axis=1)


def packed_page(values: np.ndarray, bits: int, **tags: Any) -> dict[int, Any]:
    found = page(values, bits, **tags)
    return found | {273: packed(values, bits).tobytes()}


def png(
    path: Path, pixels: np.ndarray, colour: int, key: tuple[int, ...] = (), depth: int = 16, width: int = 0
) -> Path:
    """Writes a PNG, (rows, columns) or (rows, columns, channels).

    key: what is transparent. width: where the columns are packed bytes.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = pixels.astype(">u2") if depth == 16 else pixels.astype(np.uint8)
    filtered = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width or pixels.shape[1], pixels.shape[0], depth, colour, 0, 0, 0)
    transparent = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b""
    content = chunk(b"IHDR", header) + transparent + chunk(b"IDAT", zlib.compress(filtered)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def grey(path: Path, grey_range: GreyRange = "auto") -> np.ndarray:
    return np.asarray(read_image(path, 1, grey_range)).astype(int)


def is_ramp(pixels: np.ndarray, inverted: bool = False) -> bool:
    wanted = 255 * (1 - RAMP if inverted else RAMP)
    return bool(np.abs(pixels - wanted).max() < 1.5)


def scaled(top: float, kind: str) -> np.ndarray:
    return np.rint(RAMP * top).astype(kind)


def around_zero(kind: str) -> np.ndarray:
    return (scaled(2e6, "i8") - 10**6).astype(kind)


FILES: dict[str, Callable[[Path], Path]] = {
    "16 bits": lambda path: tiff(path, [page(scaled(65535, "<u2"), 16)]),
    "16 bits, big-endian": lambda path: tiff(path, [page(scaled(65535, ">u2"), 16)], ">"),
    "12 bits in 16": lambda path: tiff(path, [page(scaled(4095, "<u2"), 16)]),
    "12 bits in 16, big-endian": lambda path: tiff(path, [page(scaled(4095, ">u2"), 16)], ">"),
    "10 bits in 16": lambda path: tiff(path, [page(scaled(1023, "<u2"), 16)]),
    "14 bits in 16": lambda path: tiff(path, [page(scaled(16383, "<u2"), 16)]),
    "8 bits in 16": lambda path: tiff(path, [page(scaled(255, "<u2"), 16)]),
    "12 bits packed": lambda path: tiff(path, [packed_page(scaled(4095, "u2"), 12)]),
    "signed 16, positive": lambda path: tiff(path, [page(scaled(4095, "<i2"), 16, format=2)]),
    "signed 16, both": lambda path: tiff(path, [page(scaled(3000, "<i2") - 1000, 16, format=2)]),
    "signed 8": lambda path: tiff(path, [page((scaled(200, "i2") - 100).astype("i1"), 8, format=2)]),
    "32 bits of 12": lambda path: tiff(path, [page(scaled(4095, "<u4"), 32)]),
    "32 bits, all": lambda path: tiff(path, [page(scaled(4294967295, "<u4"), 32)]),
    "signed 32": lambda path: tiff(path, [page(around_zero("<i4"), 32, format=2)]),
    "signed 32, big-endian": lambda path: tiff(path, [page(around_zero(">i4"), 32, format=2)], ">"),
    "real, 0 to 1": lambda path: tiff(path, [page(RAMP.astype("<f4"), 32, format=3)]),
    "real, beyond": lambda path: tiff(path, [page((RAMP * 5000 - 1000).astype("<f4"), 32, format=3)]),
    "real, big-endian": lambda path: tiff(path, [page(RAMP.astype(">f4"), 32, format=3)], ">"),
    "png of 16": lambda path: png(path, scaled(65535, "u2"), 0),
    "png of 12 in 16": lambda path: png(path, scaled(4095, "u2"), 0),
    "png of 12 in 16, colour": lambda path: png(path, scaled(4095, "u2")[..., None].repeat(3, 2), 2),
    "png of 12 in 16, opaque": lambda path: png(
        path, np.dstack([scaled(4095, "u2"), np.full((20, 40), 65535)]), 4
    ),
    "png of 12 in 16, colour, opaque": lambda path: png(
        path, np.dstack([*[scaled(4095, "u2")] * 3, np.full((20, 40), 65535)]), 6
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_ramp_of_any_depth_is_a_ramp_from_black_to_white(tmp_path: Path, name: str) -> None:
    assert is_ramp(grey(FILES[name](tmp_path / "ramp")))


@pytest.mark.parametrize(("top", "kind", "bits"), [(65535, "<u2", 16), (4095, "<u2", 16), (255, "u1", 8)])
def test_where_white_is_zero_it_is_white(tmp_path: Path, top: int, kind: str, bits: int) -> None:
    file = tiff(tmp_path / "negative.tif", [page(scaled(top, kind), bits, photometric=0)])
    pixels = grey(file)
    assert (pixels[0, 0], pixels[-1, -1]) == (255, 0)
    assert is_ramp(pixels, inverted=True)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_reach_from_black_to_white(tmp_path: Path, bits: int) -> None:
    values = np.tile(np.arange(2**bits), (4, 16 // 2**bits))
    pixels = grey(tiff(tmp_path / "few.tif", [packed_page(values, bits)]))
    assert np.array_equal(pixels, values * (255 // (2**bits - 1)))


def test_the_lower_bytes_of_colours_count(tmp_path: Path) -> None:
    """Pillow alone keeps the upper bytes: of 12 bits that is 16 levels."""
    colours = np.stack([scaled(4095, "u2"), scaled(2000, "u2"), 4095 - scaled(4095, "u2")], axis=2)
    file = png(tmp_path / "colour.png", colours, 2)
    pixels = np.asarray(read_image(file)).astype(float)
    assert np.abs(pixels - colours * (255 / 4095)).max() <= 0.5
    for order in "<>":
        found = page(colours.astype(f"{order}u2"), 16, photometric=2, samples=3)
        found[258] = (16, 16, 16)
        assert np.array_equal(np.asarray(read_image(tiff(tmp_path / "colour.tif", [found], order))), pixels)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_compressed_files_are_read_alike(tmp_path: Path, compression: str) -> None:
    Image.fromarray(scaled(4095, "u2")).save(tmp_path / "ramp.tif", compression=compression)
    assert is_ramp(grey(tmp_path / "ramp.tif"))


@pytest.mark.parametrize(
    ("rule", "white"), [("full", 65535), ((0.0, 8190.0), 8190), ((1000, 2000), 2000), ("percentile", 4095)]
)
def test_the_range_can_be_chosen(tmp_path: Path, rule: GreyRange, white: float) -> None:
    file = FILES["12 bits in 16"](tmp_path / "ramp.tif")
    black = 1000 if rule == (1000, 2000) else 0
    wanted = np.clip((scaled(4095, "f8") - black) / (white - black), 0, 1) * 255
    assert np.abs(grey(file, rule) - wanted).max() < (2 if rule == "percentile" else 0.51)


def test_full_refuses_what_it_does_not_hold(tmp_path: Path) -> None:
    for name in ("signed 16, both", "real, beyond", "32 bits, all"):
        with pytest.raises(UserError, match="its grey values reach from"):
            grey(FILES[name](tmp_path / "ramp.tif"), "full")


@pytest.mark.parametrize("rule", ["auto", "full", "percentile", (0.0, 1.0)])
def test_pixels_that_are_no_numbers_are_black_and_infinite_ones_saturate(tmp_path: Path, rule: GreyRange) -> None:
    values = np.linspace(0, 1, 40, dtype="<f4").reshape(4, 10)
    values[0, :3] = np.nan, np.inf, -np.inf
    values[1, 0] = 0.0
    pixels = grey(tiff(tmp_path / "nan.tif", [page(values, 32, format=3)]), rule)
    assert pixels[0, :3].tolist() == [0, 255, 0]
    assert pixels[-1, -1] == 255
    values[:] = np.nan
    assert not grey(tiff(tmp_path / "nan.tif", [page(values, 32, format=3)]), rule).any()


def test_a_flat_image_of_any_depth_is_read(tmp_path: Path) -> None:
    for values, bits, kind in ((np.full((4, 4), 7, "<i4") * -1, 32, 2), (np.full((4, 4), 7.5, "<f4"), 32, 3)):
        file = tiff(tmp_path / "flat.tif", [page(values, bits, format=kind)])
        for rule in ("auto", "percentile"):
            assert np.ptp(grey(file, rule)) == 0


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
@pytest.mark.parametrize("rule", ["auto", "full", "percentile", (0, 4095)])
def test_what_is_transparent_is_white_at_16_bits_too(tmp_path: Path, colour: int, rule: GreyRange) -> None:
    values = np.full((8, 8), 1000)
    values[:4] = 3000
    if colour in (4, 6):
        opaque = np.full((8, 8), 65535)
        opaque[:4] = 0
        file = png(tmp_path / "clear.png", np.dstack([*[values] * (colour - 3), opaque]), colour)
    else:
        pixels = values if colour == 0 else np.dstack([values, values + 1, values + 2])
        file = png(tmp_path / "clear.png", pixels, colour, key=(3000,) if colour == 0 else (3000, 3001, 3002))
    for channels in (1, 3):
        pixels = np.asarray(read_image(file, channels, rule))
        assert (pixels[:4] == 255).all()
        assert rule == "percentile" or (pixels[4:] < 255).all()


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_what_is_transparent_is_white_at_few_bits_too(tmp_path: Path, depth: int) -> None:
    values = np.arange(16)[None] % 2**depth
    for key in range(min(2**depth, 4)):
        file = png(tmp_path / "few.png", packed(values, depth), 0, (key,), depth, width=16)
        assert np.array_equal(grey(file), np.where(values == key, 255, values * 255 // (2**depth - 1)))


def test_a_value_that_is_nearly_the_transparent_one_is_opaque(tmp_path: Path) -> None:
    values = np.full((2, 2), 3001)
    assert (grey(png(tmp_path / "near.png", values, 0, key=(3000,)), (0, 65535)) == 12).all()


def test_large_images_are_scaled_in_stripes_that_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = png(tmp_path / "ramp.png", np.dstack([scaled(4095, "u2")] * 3), 2, key=(5, 5, 5))
    whole = np.asarray(read_image(file))
    monkeypatch.setattr(deep, "_STRIPE", 100)
    assert np.array_equal(np.asarray(read_image(file)), whole)


@pytest.mark.parametrize(("bits", "photometric", "order"), [(10, 1, "<"), (14, 1, "<"), (12, 0, "<"), (12, 1, ">")])
def test_kinds_that_are_not_read_are_named(tmp_path: Path, bits: int, photometric: int, order: str) -> None:
    found = packed_page(scaled(2**bits - 1, "u2"), bits, photometric=photometric)
    with pytest.raises(UserError, match=rf"TIFF of a kind that is not read: .* of {bits} bits .*12 or 16 bits of grey"):
        read_image(tiff(tmp_path / "odd.tif", [found], order))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_files_are_turned_like_others(tmp_path: Path, orientation: int) -> None:
    eight = tiff(tmp_path / "8.tif", [page(scaled(255, "u1"), 8, orientation=orientation)])
    sixteen = tiff(tmp_path / "16.tif", [page(scaled(255, "<u2") * 257, 16, orientation=orientation)])
    assert np.array_equal(grey(eight), grey(sixteen))
    colours = page(np.dstack([scaled(255, "<u2") * 257] * 3), 16, orientation=orientation, photometric=2, samples=3)
    colours[258] = (16, 16, 16)
    assert np.array_equal(grey(eight), grey(tiff(tmp_path / "colour.tif", [colours])))


def stack(path: Path, count: int = 3, **tags: Any) -> Path:
    pages = [page(np.full((6, 8), 60 * (number + 1), "u1"), 8) for number in range(count)]
    for number, each in enumerate(pages[1:], 1):
        each |= {254: tags.get("subfile", 0)} if number else {}
    return tiff(path, pages)


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


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_any_frame_of_an_animation_can_be_chosen(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 6), (0, 100 * number, 0)) for number in range(3)]
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    greens = [np.asarray(read_image(tmp_path / f"a.{suffix}", page=number))[0, 0, 1] for number in (None, 1, 2, 3)]
    assert greens == [0, 0, 100, 200]
    with pytest.raises(UserError, match="fewer than 4 pages"):
        read_image(tmp_path / f"a.{suffix}", page=4)
    frames[0].save(tmp_path / f"one.{suffix}")
    assert np.asarray(read_image(tmp_path / f"one.{suffix}", page=3))[0, 0, 1] == 0


@pytest.fixture
def deep_folder(tmp_path: Path) -> Path:
    """Two classes of images with 12 bits, those of the first class dark."""
    for name, top in (("dark", 900), ("light", 4000)):
        (tmp_path / "deep" / name).mkdir(parents=True)
        for number in range(5):
            png(tmp_path / "deep" / name / f"{number}.png", scaled(top - number, "u2"), 0)
    return tmp_path / "deep"


@pytest.mark.parametrize("check", ["decode", "header", "none"])
def test_all_files_of_a_data_set_are_read_with_one_range(deep_folder: Path, check: str) -> None:
    splits = open_data(FolderData(root=str(deep_folder), check=check), 0, 1)  # pyright: ignore[reportArgumentType]
    assert splits.grey_range == (0.0, 4095.0)
    dark = splits.train.read(0, 0)[0]
    assert dark.getextrema()[1] == pytest.approx(900 * 255 / 4095, abs=1)
    note = next(note for note in splits.notes if "8 bits a channel" in note)
    assert "10 of 10 images" in note
    assert "0 is black and 4,095 white (--data.grey-range auto)" in note


def test_the_range_is_found_in_some_files_of_large_sets(deep_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "LOOKED_AT", 4)
    splits = open_data(FolderData(root=str(deep_folder), check="header"), 0, 1)
    assert splits.grey_range == (0.0, 4095.0)
    assert "(in 4 that were looked at)" in " ".join(splits.notes)


def test_a_range_that_is_hardly_used_is_said(deep_folder: Path) -> None:
    notes = " ".join(open_data(FolderData(root=str(deep_folder), grey_range="full"), 0, 1).notes)
    assert "They use 6.1% of that range, so they look flat" in notes
    notes = " ".join(open_data(FolderData(root=str(deep_folder), grey_range=(0, 4095)), 0, 1).notes)
    assert "look flat" not in notes


def test_integers_and_real_numbers_are_not_mixed_in_one_range(deep_folder: Path) -> None:
    tiff(deep_folder / "dark" / "real.tif", [page(RAMP.astype("<f4"), 32, format=3)])
    splits = open_data(FolderData(root=str(deep_folder)), 0, 1)
    assert splits.grey_range == "auto"
    assert "each is read by itself" in " ".join(splits.notes)


def test_stacks_and_animations_of_a_folder_are_said(deep_folder: Path) -> None:
    stack(deep_folder / "dark" / "stack.tif")
    frames = [Image.new("L", (8, 6), 100 * number) for number in range(2)]
    frames[0].save(deep_folder / "light" / "a.gif", save_all=True, append_images=frames[1:])
    notes = " ".join(open_data(FolderData(root=str(deep_folder)), 0, 1).notes)
    assert "stack.tif: it holds 3 pages" in notes
    assert "1 image of 12 moves: the first frame is read (--data.page for another one)" in notes
    splits = open_data(FolderData(root=str(deep_folder), page=2), 0, 1)
    assert len(splits.train) + len(splits.held_out) == 12
    assert splits.page == 2


def test_frames_of_clips_are_read_with_one_range_too(tmp_path: Path) -> None:
    for name, top in (("dark", 900), ("light", 4000)):
        for clip in range(3):
            (tmp_path / name / str(clip)).mkdir(parents=True)
            for number in range(4):
                png(tmp_path / name / str(clip) / f"{number}.png", scaled(top, "u2"), 0)
    splits = open_data(ClipData(root=str(tmp_path), cache="none"), 0, 1, 4)
    assert splits.grey_range == (0.0, 4095.0)
    assert splits.train.read(0, 0)[0].max() == pytest.approx(900 * 255 / 4095, abs=1)
    splits = open_data(ClipData(root=str(tmp_path), cache="none", grey_range=(0, 900)), 0, 1, 4)
    assert splits.train.read(0, 0)[0].max() == 255


@pytest.mark.parametrize("config", [FolderData, ClipData])
@pytest.mark.parametrize(
    ("typed", "value"),
    [(["auto"], "auto"), (["full"], "full"), (["percentile"], "percentile"), (["0", "4095"], (0.0, 4095.0)),
     (["-1000", "2000.5"], (-1000.0, 2000.5))],
)  # fmt: skip
def test_the_field_is_typed_in_words_or_two_numbers_and_survives_json(
    config: Any, typed: list[str], value: Any
) -> None:
    parsed = tyro.cli(config, args=["--grey-range", *typed])
    assert parsed.grey_range == value
    kinds = TypeAdapter(config, config=None)
    assert kinds.validate_json(json.dumps(asdict(parsed)), strict=True) == parsed
    preprocess = Preprocess((8, 8), (0.5,), (0.5,), grey_range=value, page=2)
    assert Preprocess(**json.loads(json.dumps(asdict(preprocess)))) == preprocess


def test_json_with_another_range_is_refused() -> None:
    for wrong in ('"dark"', "[1]", "[1, 2, 3]", '["0", "4095"]', "[0, true]", "12", "null"):
        with pytest.raises((ValidationError, UserError)):
            TypeAdapter(FolderData).validate_json(f'{{"grey_range": {wrong}}}', strict=True)


@pytest.mark.parametrize("wrong", ["dark", (1,), (2, 1), (0, float("nan")), (0, float("inf")), 12, None, ("0", "1")])
def test_impossible_ranges_are_refused(wrong: Any) -> None:
    for make in (lambda: FolderData(grey_range=wrong), lambda: Preprocess((8, 8), (0.5,), (0.5,), grey_range=wrong)):
        with pytest.raises(UserError, match="grey_range must be auto, full, percentile, or two numbers"):
            make()
    with pytest.raises(UserError, match="page must be"):
        FolderData(page=0)


def test_a_recipe_from_before_the_field_reads_its_files_as_it_did(tmp_path: Path) -> None:
    for name in ("nest_micro_folder", "hiera_micro_mae_clips"):
        recipe = get_recipe(name)
        write_recipe(recipe, tmp_path)
        assert read_recipe(tmp_path) == recipe
        chosen = replace(recipe, data=replace(recipe.data, grey_range=(0.0, 4095.0), page=2))  # pyright: ignore
        write_recipe(chosen, tmp_path)
        assert read_recipe(tmp_path) == chosen
        fields = json.loads((tmp_path / "recipe.json").read_text())
        del fields["data"]["grey_range"], fields["data"]["page"]
        (tmp_path / "recipe.json").write_text(json.dumps(fields))
        assert read_recipe(tmp_path).data == replace(recipe.data, grey_range="full", page=1)  # pyright: ignore
    assert Preprocess((8, 8), (0.5,), (0.5,)).grey_range == "full"


class Mean(torch.nn.Module):
    """Answers with the mean of what it is shown, as the logit of its first class."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        means = batch.mean((1, 2, 3))
        return torch.stack([means, torch.zeros_like(means)], dim=1)


@pytest.mark.parametrize(("rule", "level"), [((0.0, 1000.0), 1.0), ((0.0, 4000.0), 0.25), ("full", 1000 / 65535)])
def test_predictions_read_files_as_the_weights_say(tmp_path: Path, rule: GreyRange, level: float) -> None:
    file = png(tmp_path / "flat.png", np.full((8, 8), 1000), 0)
    preprocess = Preprocess((8, 8), (0.0,), (1.0,), grey_range=rule)
    classifier = Classifier(Mean(), ("a", "b"), preprocess, torch.device("cpu"))  # pyright: ignore[reportArgumentType]
    (answer,) = predict(classifier, [file], 2, 4, pytest.fail)
    shares = {one["class"]: one["probability"] for one in answer["classes"]}
    assert np.log(shares["a"] / shares["b"]) == pytest.approx(level, abs=0.003)


def test_a_run_passes_its_range_and_page_on_to_its_weights(deep_folder: Path) -> None:
    recipe = get_recipe("nest_micro_folder")
    recipe = replace(recipe, data=FolderData(root=str(deep_folder), page=1))
    with processes("cpu") as ranks:
        preprocess = train.prepare(recipe, kind_of(recipe.model), ranks).preprocess
    assert (preprocess.grey_range, preprocess.page) == ((0.0, 4095.0), 1)


def test_a_data_set_is_scored_as_its_weights_read_files(deep_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = get_recipe("nest_micro_folder")
    model = build_network(replace(recipe.model, num_classes=2))  # pyright: ignore
    preprocess = asdict(Preprocess((64, 64), (0.5,) * 3, (0.5,) * 3, grey_range=(0, 900)))
    weights = deep_folder.parent / "weights.safetensors"
    save_weights(model, weights, classes=("dark", "light"), preprocess=preprocess)
    seen: list[Any] = []
    usual = scoring.open_data

    def watched(data: Any, *rest: Any, **more: Any) -> Any:
        seen.append(data)
        return usual(data, *rest, **more)

    monkeypatch.setattr(scoring, "open_data", watched)
    evaluate.evaluate(weights, root=str(deep_folder))
    assert seen[0].grey_range == (0.0, 900.0)
