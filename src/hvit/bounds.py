"""From where to where the numbers of a recipe may go: far beyond what anyone trains, and short of what harms a machine.

Whether a number makes sense is for its own configuration to say; here is what no file and no command line can ask for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from hvit.errors import UserError

_LARGEST_SEED = 2**63 - 1
_SHARE = (0, 1)
BOUNDS: dict[str, tuple[float, float]] = {
    # models: sizes in pixels, frames or tokens, channels, layers
    "input_size": (1, 16_384),
    "weights_input_size": (1, 16_384),
    "output_size": (1, 16_384),
    "in_channels": (1, 1_024),
    "mean": (-1e6, 1e6),
    "std": (0, 1e6),
    "out_channels": (1, 1_024),
    "num_classes": (0, 10_000_000),
    "patch_size": (1, 1_024),
    "patch_kernel": (1, 1_024),
    "block_size": (1, 1_024),
    "unit_size": (1, 1_024),
    "mask_unit": (1, 1_024),
    "position_grid": (1, 16_384),
    "dims": (1, 65_536),
    "heads": (1, 4_096),
    "depths": (0, 256),
    "mlp_ratio": (1, 64),
    "query_stride": (1, 256),
    "key_stride": (1, 256),
    "query_pools": (0, 64),
    "latent_dim": (1, 65_536),
    "attention_side": (0, 16_384),
    "decoder_dim": (1, 65_536),
    "decoder_depth": (0, 256),
    "decoder_heads": (1, 4_096),
    "mask_ratio": _SHARE,
    "drop_path": _SHARE,
    "head_dropout": _SHARE,
    # generation
    "r1_weight": (0, 1e9),
    "r1_every": (1, 1_000_000),
    "consistency": (0, 1e9),
    "discriminator_rate": (0, 1e6),
    "compared": (2, 10_000_000),
    # data: pixels, clips, frames
    "canvas": (8, 1_024),
    "digits_per_canvas": (1, 64),
    "held_out": _SHARE,
    "num_per_class": (1, 1_000_000_000),
    "held_out_per_class": (1, 1_000_000_000),
    "fraction": _SHARE,
    "val_fraction": _SHARE,
    "folds": (0, 1_000),
    "fold": (0, 1_000),
    "effective_beta": _SHARE,
    "cache_side": (16, 16_384),
    "cache_gigabytes": (0, 1e9),
    "shuffle_shards": (1, 1_000_000),
    "shard_streams": (0, 1_000_000),
    "max_skipped": (0, 1_000_000_000),
    "split_seed": (-_LARGEST_SEED, _LARGEST_SEED),
    "grey_range": (-1e12, 1e12),
    "page": (1, 1_000_000),
    "stride": (1, 100_000),
    "target_fps": (0, 100_000),
    "frame_rate": (0, 100_000),
    "temporal_views": (1, 1_000),
    "spatial_views": (1, 3),
    "short_side": (0, 16_384),
    "speeds": (0, 1_024),
    "num_train": (1, 10_000_000),
    "num_held_out": (1, 10_000_000),
    # augmentation
    "pad": (0, 4_096),
    "area": (0, 1),
    "ratio": (0, 1_000),
    "side": (0, 1),
    "flip": _SHARE,
    "rand_augment_shift": _SHARE,
    "color_jitter": _SHARE,
    "erasing": _SHARE,
    "block_erasing": _SHARE,
    "mixup": (0, 1_000),
    "cutmix": (0, 1_000),
    "mix_probability": _SHARE,
    "mix_switch": _SHARE,
    "label_smoothing": _SHARE,
    # optimizer
    "learning_rate_per_256": (0, 1e6),
    "final_learning_rate_per_256": (0, 1e6),
    "start_learning_rate_per_256": (0, 1e6),
    "betas": _SHARE,
    "epsilon": (0, 1e6),
    "weight_decay": (0, 1e6),
    "warmup_epochs": (0, 1_000_000),
    "unfreeze_epochs": (0, 1_000_000),
    "finetune_minutes": (0, 1_000_000),
    "layer_decay": _SHARE,
    "clip_norm": (0, 1e12),
    "average_decay": _SHARE,
    # distillation
    "temperature": (0, 1_000),
    "label_weight": _SHARE,
    "feature_weight": (0, 1e9),
    "level": (0, 64),
    "labels_per_class": (1, 1_000_000_000),
    # the loop
    "epochs": (1, 1_000_000),
    "batch_size": (1, 131_072),
    "accumulate": (1, 131_072),
    "repeats": (1, 1_024),
    "max_steps": (0, 1_000_000_000),
    "evaluate_every": (1, 1_000_000),
    "evaluate_steps": (0, 1_000_000_000),
    "checkpoint_steps": (0, 1_000_000_000),
    "patience": (0, 1_000_000),
    "workers": (0, 512),
    "shard_size": (0, 131_072),
    # what is fitted to the held-out images
    "unsure_error": _SHARE,
    # the recipe itself
    "crop": (0, 1),
    "seed": (-_LARGEST_SEED, _LARGEST_SEED),
}
"""The lowest and the highest value of every number of a recipe, by the name of its field."""
MOST_ENTRIES = 64
"""Entries that a list of a recipe may have."""
LONGEST_TEXT = 4_096
"""Characters that a text of a recipe may have; the longest path of most systems."""
_MOST_OPERATIONS, _HIGHEST_MAGNITUDE = 64, 1_000
_WORD = re.compile(r"-(n|m|mstd|mmax)(\d+(?:\.\d+)?)")


def check_bounds(config: object) -> None:
    """Refuses (UserError) a configuration with a number out of its bounds, an endless list or an endless text.

    config: a dataclass, with others inside.
    """
    for path, value in leaves(config):
        name = path.rpartition(".")[2]
        entries = value if isinstance(value, list | tuple) else (value,)
        if len(entries) > MOST_ENTRIES:
            raise UserError(f"{path} must have at most {MOST_ENTRIES} entries; got {len(entries):,}")
        for entry in entries:
            if isinstance(entry, str) and len(entry) > LONGEST_TEXT:
                raise UserError(f"{path} must have at most {LONGEST_TEXT:,} characters; got {len(entry):,}")
            if isinstance(entry, int | float) and not isinstance(entry, bool):
                low, high = BOUNDS[name]
                if not low <= entry <= high:  # what is no number is not, either
                    raise UserError(f"{path} must be from {low:,} to {high:,}; got {_short(entry)}")
        if name == "rand_augment" and isinstance(value, str):
            _check_words(path, value)


def _check_words(path: str, words: str) -> None:
    """RandAugment repeats its operations as often as its words say."""
    for word, number in _WORD.findall(words):
        most = _MOST_OPERATIONS if word == "n" else _HIGHEST_MAGNITUDE
        if len(number) > 12 or float(number) > most:
            raise UserError(f"{path} may have -{word} up to {most:,}; got {words[:100]!r}")


def leaves(config: object, path: str = "") -> Iterator[tuple[str, object]]:
    """The fields of nested dataclasses by their full names, such as "loop.epochs", with their values."""
    for field in fields(config):  # pyright: ignore[reportArgumentType]  (pydantic's dataclass is one, too)
        value, name = getattr(config, field.name), f"{path}{field.name}"
        if is_dataclass(value):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def _short(number: float) -> str:
    return f"{number:,}" if isinstance(number, float) or abs(number) < 10**30 else "a number of more than 30 digits"
