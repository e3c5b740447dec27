"""`hvit.from_pretrained`: models of a folder, the hub or its cache come back with what predicting with them takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

import hvit
from hvit.cli.main import main
from hvit.data.open import read_image
from hvit.errors import UserError
from hvit.models.weights.open import open_weights
from hvit.verbs import push
from hvit.verbs.classifier import open_classifier
from hvit.verbs.push import PushRequest
from tests.hub_server import HubServer

NAME = "anna/colours"
# The hub's client uploads in a way that its own HTTP library no longer likes.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_a_model_of_the_hub_predicts_as_the_run_does(
    published_run: Path, hub_server: HubServer, photo_folder: Path
) -> None:
    push.push(PushRequest(published_run, NAME))
    model = hvit.from_pretrained(NAME)
    assert model.classes == ("blue", "red")
    assert not model.training
    images = model.preprocess.tensor(read_image(photo_folder / "red" / "0.png"))[None]
    classifier = open_classifier(published_run, "cpu")
    with torch.no_grad():
        assert torch.equal((model(images) / model.temperature).softmax(1), classifier.answers(images))


def test_the_cache_answers_without_the_hub(
    published_run: Path, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = push.push(PushRequest(published_run, NAME))["commit"]
    wanted = hvit.from_pretrained(NAME).state_dict()
    hub_server.asked.clear()
    assert hvit.from_pretrained(NAME, revision=commit).classes == ("blue", "red")
    assert hub_server.asked == [], "a commit never changes"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = hvit.from_pretrained(NAME).state_dict()
    assert all(torch.equal(wanted[name], again[name]) for name in wanted)
    with pytest.raises(UserError, match=r"anna/other is not in the hub's cache, and HF_HUB_OFFLINE forbids"):
        hvit.from_pretrained("anna/other")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.warns(UserWarning, match=f"the commit {commit[:12]} in its cache is used"):
        hvit.from_pretrained(NAME)


def test_revisions_are_branches_and_commits(published_run: Path, hub_server: HubServer) -> None:
    push.push(PushRequest(published_run, NAME))
    push.push(PushRequest(published_run, NAME, "mit", branch="v2"))
    assert hvit.from_pretrained(NAME, revision="v2").classes == ("blue", "red")
    assert hvit.from_pretrained(f"hf:{NAME}@v2").classes == ("blue", "red")
    with pytest.raises(UserError, match="has no revision 'v3' on the hub"):
        hvit.from_pretrained(NAME, revision="v3")
    with pytest.raises(UserError, match="give one of them"):
        hvit.from_pretrained(f"hf:{NAME}@v2", revision="main")
    with pytest.raises(UserError, match="has no revisions"):
        hvit.from_pretrained(published_run, revision="main")


def test_another_head_is_new_and_has_no_names(published_run: Path) -> None:
    model = hvit.from_pretrained(published_run, num_classes=5)
    assert model(torch.rand(1, 3, 16, 16)).shape == (1, 5)
    assert model.classes == ()
    encoder = hvit.from_pretrained(published_run, num_classes=0)
    assert encoder(torch.rand(1, 3, 16, 16)).shape == (1, 16)
    kept = hvit.from_pretrained(str(published_run), num_classes=2)
    assert kept.classes == ("blue", "red")
    assert torch.equal(kept.head.weight, open_weights(published_run).model.head.weight)
    for number in (-1, True, "5"):
        with pytest.raises(UserError, match="num_classes"):
            hvit.from_pretrained(published_run, num_classes=number)


def test_names_that_lead_nowhere_are_refused_in_one_sentence(hub_server: HubServer, tmp_path: Path) -> None:
    for source, words in {
        "anna/nothing": "there is no model anna/nothing on the hub, or it is private",
        "nothing": "neither a folder or file nothing, nor is it owner/name",
        "hf:nothing": "is called owner/name",
        "hf:anna/x@": "a revision is a branch, a tag or a commit",
        tmp_path / "nothing": "neither a folder or file",
    }.items():
        with pytest.raises(UserError, match=words) as error:
            hvit.from_pretrained(source)
        assert "\n" not in str(error.value)
    hub_server.add("anna/empty", {"README.md": b"# empty"})
    with pytest.raises(UserError, match="anna/empty holds no weights"):
        hvit.from_pretrained("anna/empty")


def test_every_verb_takes_a_model_of_the_hub(
    published_run: Path, hub_server: HubServer, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push.push(PushRequest(published_run, NAME))
    photo = str(photo_folder / "red" / "0.png")
    main(["predict", str(published_run), photo, "--json", "--device", "cpu"])
    wanted = capsys.readouterr().out
    main(["predict", f"hf:{NAME}", photo, "--json", "--device", "cpu"])
    assert '"probability"' in wanted
    assert _without_training(capsys.readouterr().out) == _without_training(wanted)
    main(["explain", f"hf:{NAME}", photo, "--out", str(tmp_path / "why"), "--device", "cpu"])
    assert (tmp_path / "why" / "index.html").exists()
    main(["evaluate", f"hf:{NAME}", "--root", str(photo_folder), "--device", "cpu"])
    main(["convert", f"hf:{NAME}", str(tmp_path / "timm.safetensors"), "--to", "timm"])
    model = hvit.create_model("nest_micro_32", input_size=16, dims=(8, 16), heads=(2, 2), depths=(1, 1), num_classes=4)
    hvit.load_weights(model, f"hf:{NAME}")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["predict", NAME, photo])
    assert "of a model on the hub write hf:anna/colours" in capsys.readouterr().err


def _without_training(line: str) -> str:
    """An answer without what features of training images add, which are not published."""
    return line.split(', "distance"')[0].rstrip("}\n")
