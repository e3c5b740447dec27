"""Claims about other implementations: the same logits at the same weights, or a sentence."""

from __future__ import annotations

import pytest
import torch

import hvit
from hvit.benchmark.peers import PEERS, check_peers, same_weights
from hvit.errors import UserError

CASES = [
    ("nest_micro_32", "timm", {}),
    ("mvitv2_micro_64", "timm", {}),
    ("hiera_micro_32", "timm", {}),
    ("hiera_tiny_224", "transformers", {"num_classes": 7}),
    ("hiera_tiny_224", "hiera-transformer", {"num_classes": 7}),
]


@pytest.mark.parametrize(("name", "peer", "changes"), CASES)
@pytest.mark.filterwarnings("ignore")  # of the peers
def test_a_peer_gives_the_same_logits(name: str, peer: str, changes: dict[str, int]) -> None:
    torch.manual_seed(0)
    model = hvit.create_model(name, **changes)
    ours, theirs, logits = same_weights(model, peer)
    assert not ours.training
    assert not theirs.training
    images = torch.randn(1, 3, *model.config.input_size)
    with torch.inference_mode():
        own, other = ours(images), logits(images)
    assert float((own - other).abs().max() / own.abs().max()) < 1e-4
    assert float(own.abs().max()) > 0


def test_what_a_peer_does_not_have_is_a_sentence() -> None:
    nest = hvit.create_model("nest_micro_32")
    for peer in PEERS[1:]:
        with pytest.raises(UserError, match=f"{peer} has no nest_micro_32"):
            same_weights(nest, peer)
    with pytest.raises(UserError, match="are turned into timm's"):
        same_weights(hvit.create_model("vit_micro_32"), "timm")


def test_unknown_and_missing_peers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_peers(list(PEERS))
    with pytest.raises(UserError, match="--against 'tim' is not known; did you mean 'timm'"):
        check_peers(["tim"])
    monkeypatch.setattr("hvit.benchmark.peers.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs the package timm: pip install timm"):
        check_peers(["timm"])
