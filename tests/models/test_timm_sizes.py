"""Models of timm at sizes that timm does not name."""

from __future__ import annotations

import json

import pytest

from hvit.errors import UserError
from hvit.models.catalogue import config_from_json
from hvit.models.timm_baselines import baseline
from hvit.models.timm_encoder import TimmConfig
from hvit.models.timm_sizes import read_settings


def test_settings_travel_with_a_recipe_and_hold_sizes_only() -> None:
    config = baseline("swin")
    assert isinstance(config, TimmConfig)
    fields = {name: getattr(config, name) for name in config.__dataclass_fields__}
    assert config_from_json(json.dumps({"config": fields})) == config
    assert read_settings('{"depths": [1, 2]}') == {"depths": (1, 2)}
    for text, sentence in (
        ('{"checkpoint_path": "x"}', "no 'checkpoint_path'"),
        ('{"pretrained": true}', "no 'pretrained'"),
        ('{"embed_dims": [32, "../x"]}', "takes a number"),
        ('{"embed_dim": 1e9}', "takes a number"),
        ("[1]", "JSON object"),
        ("{" * 5000, "JSON object"),
        ('{"w0": 24}', "timm cannot make"),
    ):
        with pytest.raises(UserError, match=sentence):
            TimmConfig(name="swin_tiny_patch4_window7_224", settings=text)
    with pytest.raises(UserError, match="none"):
        TimmConfig(name="resnet18", settings='{"shift": false}')
