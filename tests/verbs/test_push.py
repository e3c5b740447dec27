"""`hvit push`: what is published of a run, and how a hub that does not take it is answered."""

from __future__ import annotations

import getpass
import json
import platform
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, constants

from hvit.errors import UserError
from hvit.models.weights.open import open_any
from hvit.verbs import push
from hvit.verbs.push import FILES, PushRequest, describe, write_folder
from tests.hub_server import TOKEN, HubServer
from tests.verbs.published import hiera_run

NAME = "anna/colours"
# The hub's client uploads in a way that its own HTTP library no longer likes.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_the_folder_opens_and_names_nothing_of_this_machine(
    published_run: Path, photo_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = write_folder(PushRequest(published_run, NAME, "apache-2.0"), out)
    assert set(found["files"]) == {"README.md", "config.json", "recipe.json", "weights.safetensors"}
    model, again = open_any(published_run).model.state_dict(), open_any(out).model.state_dict()
    assert all(torch.equal(model[name], again[name]) for name in model)
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["data"]["root"] == "…"
    assert recipe["data"]["kind"] == "folder"
    private = [
        str(published_run),
        str(photo_folder),
        str(Path.home()) + "/",
        platform.node(),
        "/tmp",
        f"/{getpass.getuser()}/",
    ]
    for file in out.iterdir():
        content = file.read_bytes()
        assert not [word for word in private if word.encode() in content], file.name
    # A second time the same folder is written over; a folder of other things is not.
    write_folder(PushRequest(published_run, NAME), out)
    assert "licence is stated" in (out / "README.md").read_text()
    (out / "diary.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files, such as diary\.txt"):
        write_folder(PushRequest(published_run, NAME), out)


def test_the_front_matter_is_what_the_hub_reads(published_run: Path, tmp_path: Path) -> None:
    write_folder(PushRequest(published_run, NAME, "mit"), tmp_path / "out")
    data = ModelCard.load(tmp_path / "out" / "README.md").data
    assert (data.license, data.library_name, data.pipeline_tag) == ("mit", "hvit", "image-classification")
    assert data.datasets is None, "nobody knows whose photos these are"
    assert data.model_name == "colours"
    assert [result.metric_type for result in data.eval_results][:1] == ["accuracy"]
    scores = json.loads((published_run / "scores.json").read_text())
    assert data.eval_results[0].metric_value == pytest.approx(scores["top1"])
    write_folder(PushRequest(published_run, NAME), tmp_path / "none")
    assert ModelCard.load(tmp_path / "none" / "README.md").data.license is None


def test_a_hiera_opens_in_transformers_too(published_run: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    run = hiera_run(tmp_path / "hiera", published_run)
    out = tmp_path / "out"
    assert set(write_folder(PushRequest(run, NAME), out)["files"]) == set(FILES)
    peer = transformers.AutoModelForImageClassification.from_pretrained(out).eval()
    opened = open_any(out)
    assert opened.classes == ("blue", "red")
    assert peer.config.id2label == {0: "blue", 1: "red"}
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(peer(image).logits, opened.model(image), atol=1e-5)
    assert "AutoModelForImageClassification" in (out / "README.md").read_text()


def test_a_run_is_published_in_one_commit(
    published_run: Path, hub_server: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    made = push.push(PushRequest(published_run, NAME, "apache-2.0", private=True), said.append)
    assert said[0] == "making the private repository anna/colours"
    repository = hub_server.repositories[NAME]
    assert repository.private
    assert made["commit"] == repository.branches["main"]
    assert len(repository.commits) == 2, "an empty one, and the model"
    files = hub_server.newest(NAME)
    assert set(files) == {".gitattributes", "README.md", "config.json", "recipe.json", "weights.safetensors"}
    assert files["weights.safetensors"] == (published_run / "weights.safetensors").read_bytes()
    printed = capsys.readouterr()
    assert TOKEN not in f"{made} {said} {printed.out} {printed.err}"
    # The same model again changes nothing but the card; another one needs --replace.
    push.push(PushRequest(published_run, NAME, "mit"))
    assert b"license: mit" in hub_server.newest(NAME)["README.md"]


def test_another_model_of_hvit_is_replaced_only_on_request(
    published_run: Path, hub_server: HubServer, tmp_path: Path
) -> None:
    hiera = hiera_run(tmp_path / "hiera", published_run)
    push.push(PushRequest(hiera, NAME))
    assert "model.safetensors" in hub_server.newest(NAME)
    with pytest.raises(UserError, match="holds another model that hvit published: --replace writes over it"):
        push.push(PushRequest(published_run, NAME))
    push.push(PushRequest(published_run, NAME, replace=True))
    assert "model.safetensors" not in hub_server.newest(NAME), "of the Hiera, which transformers could read"
    assert hub_server.newest(NAME)["weights.safetensors"] == (published_run / "weights.safetensors").read_bytes()


def test_a_branch_of_its_own_leaves_main_as_it_is(published_run: Path, hub_server: HubServer) -> None:
    push.push(PushRequest(published_run, NAME))
    main = hub_server.repositories[NAME].branches["main"]
    push.push(PushRequest(published_run, NAME, "mit", branch="v2"))
    assert hub_server.repositories[NAME].branches["main"] == main
    assert b"license: mit" in hub_server.newest(NAME, "v2")["README.md"]


def test_other_content_is_left_alone(published_run: Path, hub_server: HubServer) -> None:
    for files in ({"notes.txt": b"mine"}, {"config.json": b'{"model_type": "bert"}'}, {"weights.safetensors": b"x"}):
        commit = hub_server.add(NAME, {".gitattributes": b"", **files})
        with pytest.raises(UserError, match=rf"exists and holds other files, such as {next(iter(files))}"):
            push.push(PushRequest(published_run, NAME, replace=True))
        assert hub_server.repositories[NAME].branches["main"] == commit
    hub_server.add(NAME, {".gitattributes": b""})
    with pytest.raises(UserError, match="exists and is public; --private is for new repositories"):
        push.push(PushRequest(published_run, NAME, private=True))


def test_what_keeps_a_run_from_being_published_is_said_in_one_sentence(
    published_run: Path, hub_server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(request: PushRequest) -> str:
        with pytest.raises(UserError) as error:
            push.push(request)
        assert "\n" not in str(error.value)
        return str(error.value)

    for name in ("colours", "anna/", "/colours", "anna/colours/v2", "an na/colours", "anna/co--lours", "anna/x.git"):
        assert "is called owner/name" in refusal(PushRequest(published_run, name))
    assert "a licence is named as the hub does" in refusal(PushRequest(published_run, NAME, "Apache License"))
    assert "a revision is a branch, a tag or a commit" in refusal(PushRequest(published_run, NAME, branch="../main"))
    assert "no folder" in refusal(PushRequest(tmp_path / "nothing", NAME))
    assert "is no run folder" in refusal(PushRequest(tmp_path, NAME))
    unfinished = tmp_path / "unfinished"
    shutil.copytree(published_run, unfinished)
    (unfinished / "scores.json").unlink()
    assert "is not finished: `hvit resume" in refusal(PushRequest(unfinished, NAME))
    assert not [one for one in hub_server.asked if not one.startswith("GET")], "nothing was sent"
    assert "does not allow this for bob/colours" in refusal(PushRequest(published_run, "bob/colours"))
    assert "must be one of the list" in refusal(PushRequest(published_run, NAME, "not-a-licence"))
    hub_server.refuses["/commit/"] = 403
    assert "the login has no right to it" in refusal(PushRequest(published_run, NAME))
    hub_server.refuses.clear()
    monkeypatch.delenv("HF_TOKEN")
    assert "this machine is not logged in to the hub: `hf auth login`" in refusal(PushRequest(published_run, NAME))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids to ask the hub" in refusal(PushRequest(published_run, NAME))


def test_without_a_network_the_sentence_says_so(
    published_run: Path, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"^the hub cannot be used for anna/colours \("):
        push.push(PushRequest(published_run, NAME))
    assert describe(PushRequest(published_run, NAME))["repository"] == NAME, "which needs none"


def test_a_cross_validation_is_refused(published_run: Path, tmp_path: Path) -> None:
    folds = tmp_path / "folds"
    shutil.copytree(published_run, folds / "fold_1")
    recipe = json.loads((published_run / "recipe.json").read_text())
    recipe["data"]["folds"] = 3
    (folds / "recipe.json").write_text(json.dumps(recipe))
    request = PushRequest(folds, NAME)
    with pytest.raises(UserError, match="cross-validation, which has a model for each fold: name one"):
        describe(request)
    assert describe(replace(request, run=folds / "fold_1"))["licence"] is None
