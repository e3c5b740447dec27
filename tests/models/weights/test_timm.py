"""Weights of timm: published ones from a pinned commit, and models of timm that are ours."""

from __future__ import annotations

import hashlib
import re
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models.nest import Nest as TimmNest

from hvit.errors import UserError
from hvit.models.create import create_model
from hvit.models.nest.model import Nest
from hvit.models.weights import teacher
from hvit.models.weights import timm as timm_weights
from hvit.models.weights.load import (
    download_timm,
    timm_arguments,
)
from hvit.models.weights.timm import Pin
from tests.models.weights.small import SMALL, shaken


class Hub:
    """A hub with one file, which remembers what it was asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, cached: bool = False) -> None:
        self.file = folder / "blobs" / "model.safetensors"
        self.file.parent.mkdir()
        save_file(shaken(TimmNest(**timm_arguments(Nest(SMALL)))).state_dict(), self.file)
        self.sha256 = hashlib.sha256(self.file.read_bytes()).hexdigest()
        self.etag: str | None = self.sha256
        self.asked: list[Any] = []
        self.cached = cached
        if cached:
            self.file = self.file.rename(self.file.with_name(self.sha256))
        for name in ("try_to_load_from_cache", "get_hf_file_metadata", "hf_hub_download"):
            monkeypatch.setattr(huggingface_hub, name, getattr(self, name))

    def try_to_load_from_cache(self, repository: str, file: str, revision: str | None) -> str | None:
        return str(self.file) if self.cached else None

    def get_hf_file_metadata(self, url: str, **_: Any) -> Any:
        self.asked.append(url.removeprefix("https://huggingface.co/"))
        return types.SimpleNamespace(commit_hash="c" * 40, etag=self.etag)

    def hf_hub_download(self, repository: str, file: str, revision: str | None, **_: Any) -> str:
        self.asked.append((repository, revision))
        return str(self.file)


def pin(monkeypatch: pytest.MonkeyPatch, name: str, pinned: Pin) -> None:
    monkeypatch.setitem(timm_weights.PINNED, name, pinned)


def test_published_weights_come_from_one_commit_of_timms_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(tmp_path, monkeypatch)
    sizes = {field: getattr(SMALL, field) for field in ("input_size", "patch_size", "dims", "heads", "depths")}
    model = create_model("nest_small_224", weights="timm", num_classes=4, **sizes)
    repository = "timm/nest_small_jx.goog_in1k"
    assert hub.asked == [f"{repository}/resolve/main/model.safetensors", (repository, "c" * 40)]
    assert torch.equal(model.state_dict()["norm.weight"], load_file(hub.file)["norm.weight"])


def test_a_pinned_revision_and_hash_are_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(tmp_path, monkeypatch)
    pin(monkeypatch, "nest_small_jx.goog_in1k", Pin("a" * 40, hub.sha256))
    assert download_timm("nest_small_224") == str(hub.file)
    repository = "timm/nest_small_jx.goog_in1k"
    assert hub.asked == [f"{repository}/resolve/{'a' * 40}/model.safetensors", (repository, "a" * 40)]
    pin(monkeypatch, "nest_small_jx.goog_in1k", Pin("a" * 40, "0" * 64))
    with pytest.raises(UserError, match=f"names {hub.sha256} .* should be {'0' * 64}; nothing was downloaded"):
        download_timm("nest_small_224")


@pytest.mark.parametrize("cached", [False, True])
def test_content_that_is_not_what_the_hub_names_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    hub = Hub(tmp_path, monkeypatch, cached)
    assert download_timm("nest_small_224") == str(hub.file)
    with hub.file.open("ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match=f"its SHA-256 is .* should be {hub.sha256}; delete it"):
        download_timm("nest_small_224")


def test_a_file_without_a_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(tmp_path, monkeypatch)
    hub.etag = '"an-etag-of-a-small-file"'
    with pytest.raises(UserError, match="should be a SHA-256; nothing was downloaded"):
        download_timm("nest_small_224")
    hub.cached = True
    with pytest.raises(UserError, match="nothing says which hash it should have"):
        download_timm("nest_small_224")


def test_pins_are_whole_hashes_of_weights_that_are_offered() -> None:
    for name, pinned in timm_weights.PINNED.items():
        assert name in timm_weights.DOWNLOADS.values()
        assert pinned.revision is None or re.fullmatch("[0-9a-f]{40}", pinned.revision)
        assert pinned.sha256 is None or re.fullmatch("[0-9a-f]{64}", pinned.sha256)


def test_published_weights_offline_are_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"download model\.safetensors of \S+timm/nest_base_jx\.goog_in1k"):
        download_timm("nest_base_224")
    with pytest.raises(UserError, match="no weights for 'nest_micro_32'; it has for nest_tiny_224"):
        download_timm("nest_micro_32")


def test_the_table_of_names_is_that_of_the_code_and_of_the_installed_packages() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "guides" / "weights.md").read_text(encoding="utf-8")
    table = page.split("## Published weights by name")[1].split("\n## ")[0]
    rows = [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in table.splitlines() if "| `" in line]
    listed = set(timm.list_pretrained())
    named = {}
    for name, published, licence, commit, sha256 in rows[:-1]:
        timm_name = published.removeprefix("timm/")
        found = timm.get_pretrained_cfg(timm_name)
        assert found is not None
        assert (found.hf_hub_id, found.license) == (published, licence)
        assert timm_name in listed
        pinned = timm_weights.PINNED.get(timm_name, Pin())
        assert commit == (pinned.revision or "newest")
        assert sha256 == (pinned.sha256 or "as the hub names it")
        named[name] = timm_name
    assert named == timm_weights.DOWNLOADS
    assert rows[-1][0] == "teacher"
    assert rows[-1][-1] == teacher.SHA256
    # Whatever else timm has of these families is said to be left to the user.
    ours = re.compile(r"(nest|jx_nest|hiera|mvitv2|sam2_hiera)_")
    left = {name for name in listed if ours.match(name)} - set(named.values())
    said = r"hiera_\w+_224\.mae|hiera_small_abswin_256\.sbb2_\w+|sam2_\w+\.\w+_2pt1"
    assert not [name for name in left if not re.fullmatch(said, name)]


def test_the_names_of_transformers_are_those_in_its_package() -> None:
    package = find_spec("transformers")
    if package is None or package.origin is None:
        pytest.skip("transformers is not installed")
    folder = Path(package.origin).parent / "models"
    files = [path for part in ("hiera", "sam2") for path in (folder / part).glob("*.py")]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    names = set(re.findall(r"facebook/(?:sam2\.1-)?hiera-[\w-]+", text))
    assert any(re.fullmatch(r"facebook/hiera-\w+-224-hf", name) for name in names)
    assert any(re.fullmatch(r"facebook/hiera-\w+-224-mae-hf", name) for name in names)
    assert any(name.startswith("facebook/sam2.1-hiera-") for name in names)
