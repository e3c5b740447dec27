"""Weights and clips in, answers out: predictions over time, and what the model looks at frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hvit.data.clips.decoding import is_clip_name, probe, read_frames
from hvit.data.clips.lists import list_pile
from hvit.data.clips.videos import ClipFacts
from hvit.data.images.reading import show
from hvit.data.sampling import Sampling
from hvit.errors import UserError
from hvit.explain import class_activation_map_batch, save_figure
from hvit.explain.drawing.clip_picture import draw_clip_maps, write_clip_gif
from hvit.inference import Classifier, free_name

_SHORT_SIDE = 512


def list_clips(paths: tuple[Path, ...]) -> list[Path]:
    """The clips that some files and folders stand for, in order, none twice.

    A file stands for itself, a folder for every clip in it; a folder with nothing but pictures is one clip, its frames.
    Raises UserError where a path does not exist or a folder holds no clip.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found.update(dict.fromkeys(list_pile(path)[0].sources))
        elif path.exists() or is_clip_name(path):
            found[path] = None
        else:
            raise UserError(f"there is no file {show(path)}")
    return list(found)


def predict_clips(
    classifier: Classifier, files: list[Path], top_k: int, views: int, refused: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """The likeliest classes of every clip: as a whole, and in each of several views from its beginning to its end.

    views: how many; their probabilities are averaged, as in testing. refused: called with one sentence for each file
    that cannot be read; the others go on.
    Yields {"file", "classes": [...], "over_time": [{"start", "end", "classes": [...]}, ...]}; classes as in
    `inference.predict`, times in seconds.
    """
    sampling = _sampling(classifier)
    for file in files:
        try:
            facts = probe(file, page=classifier.preprocess.page)
            looks = [sampling.of_view(facts.frames, facts.rate, view, views) for view in range(views)]
            batch = [_input(classifier, file, facts, indices)[0] for indices in looks]
        except UserError as error:
            refused(str(error))
            continue
        with torch.inference_mode():
            shares = [classifier.logits(one[None].to(classifier.device))[0].softmax(0).cpu() for one in batch]
        yield {
            "file": str(file),
            "classes": _ranked(classifier, torch.stack(shares).mean(0), top_k),
            "over_time": [
                {
                    "start": round(float(indices[0]) / facts.rate, 3),
                    "end": round(float(indices[-1] + 1) / facts.rate, 3),
                    "classes": _ranked(classifier, share, top_k),
                }
                for indices, share in zip(looks, shares, strict=True)
            ],
        }


def explain_clips(
    classifier: Classifier,
    files: list[Path],
    classes: list[int] | None,
    top_k: int,
    folder: Path,
    refused: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """Writes what speaks for every class in the middle of each clip: `<name>_cam.png` (a strip) and `<name>_cam.gif`.

    classes: what to explain; None for the `top_k` likeliest. refused: as in `predict_clips`.
    Yields {"file", "pictures": [...], "classes": [{"class", "index", "probability", "over_time"}, ...]}; over_time is
    the mean of the class's map in each of the model's times: they add up to the logit without its bias, divided by
    their number.
    """
    sampling, taken = _sampling(classifier), set()
    for file in files:
        try:
            facts = probe(file, page=classifier.preprocess.page)
            tensor, frames = _input(classifier, file, facts, sampling.of_view(facts.frames, facts.rate, 0, 1))
        except UserError as error:
            refused(str(error))
            continue
        batch = tensor[None].to(classifier.device)
        with torch.inference_mode():
            shares = classifier.logits(batch)[0].softmax(dim=0)
        chosen = classes or shares.topk(min(top_k, len(shares))).indices.tolist()
        maps = list(class_activation_map_batch(classifier.model, batch, chosen)[0])
        names, likely = [classifier.name(one) for one in chosen], [float(shares[one]) for one in chosen]
        stem = free_name(file.stem, taken)
        strip, moving = folder / f"{stem}_cam.png", folder / f"{stem}_cam.gif"
        save_figure(draw_clip_maps(frames, maps, names, likely), strip)
        write_clip_gif(frames, maps, moving)
        yield {
            "file": str(file),
            "pictures": [str(strip), str(moving)],
            "classes": [
                {
                    "class": name,
                    "index": one,
                    "probability": round(share, 6),
                    "over_time": [round(float(value), 6) for value in plane.mean((1, 2))],
                }
                for one, name, share, plane in zip(chosen, names, likely, maps, strict=True)
            ],
        }


def _sampling(classifier: Classifier) -> Sampling:
    """How frames were chosen in training; the published 16 frames by 4 where the weights do not say."""
    return classifier.preprocess.sampling or Sampling(classifier.preprocess.input_size[0])


def _input(
    classifier: Classifier, file: Path, facts: ClipFacts, indices: np.ndarray
) -> tuple[torch.Tensor, np.ndarray]:
    """The model's input (channels, time, height, width), and the frames (time, height, width, channels) it shows."""
    preprocess = classifier.preprocess
    clip = read_frames(file, indices, facts, _SHORT_SIDE, preprocess.grey_range, preprocess.page)
    (frames,) = preprocess.shown_clips(preprocess.clip_in_mode(clip))
    return classifier.preprocess.normalised_clip(frames), frames


def _ranked(classifier: Classifier, shares: torch.Tensor, top_k: int) -> list[dict[str, Any]]:
    likely = shares.topk(min(top_k, len(shares)))
    return [
        {"class": classifier.name(index), "index": index, "probability": round(value, 6)}
        for value, index in zip(likely.values.tolist(), likely.indices.tolist(), strict=True)
    ]
