"""Opens a checkpoint of the official NesT code, compares its logits with recorded ones, and writes a safetensors copy.

    python examples/load_official_weights.py [CHECKPOINT] [COPY]

CHECKPOINT: a file ckpt-N.flax, or the folder that holds some; left out, the small random one of this repository's
tests. COPY: the file to write; left out, official.safetensors in the current folder. Neither JAX nor Flax is needed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

import hvit

FIXTURE = Path(__file__).resolve().parents[1] / "tests" / "data" / "nest_flax_fixture" / "imagenet_like"


def main(checkpoint: str = str(FIXTURE), copy: str = "official.safetensors") -> None:
    opened = hvit.open_weights(checkpoint)
    config = opened.model.config
    print(opened.report)
    print(f"{opened.name}: input {config.input_size}, dims {config.dims}, depths {config.depths}, {config.attention}")

    # What the official code computed, where somebody has recorded it: images (batch, height, width, channels).
    recorded = Path(checkpoint) / "reference.npz"
    if recorded.is_file():
        reference = np.load(recorded)
        images = torch.from_numpy(reference["images"]).permute(0, 3, 1, 2)
        with torch.no_grad():
            difference = (opened.model(images) - torch.from_numpy(reference["logits"])).abs().max()
        print(f"largest difference from the logits of the official code: {difference:.1g}")

    # The copy carries its configuration and opens without a word about which model it is.
    hvit.save_weights(opened.model, copy)
    again = hvit.open_weights(copy)
    first, second = opened.model.state_dict(), again.model.state_dict()
    same = first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    print(f"written to {copy}; opened again it is {'the same model' if same else 'another model'}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
