"""Clips in, classes out, by an exported model: folders of frames and arrays; video files where PyAV is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from hvit.data.clips.decoding import SHORT_SIDE, probe, read_frames
from hvit.data.clips.videos import ClipFacts
from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.files import JsonObject
from hvit.runtime.answers import over_time
from hvit.runtime.open import Exported
from hvit.runtime.predict import answer_of, preparation, remarks_of


def predict_clips(
    exported: Exported, files: list[Path], top_k: int, views: int, refused: Callable[[str], None]
) -> Iterator[JsonObject]:
    """The most probable classes of every clip, as a whole and in each of its views; as `verbs.predict.predict_clips`.

    refused: called with one sentence for each file that cannot be read; the others go on. Raises UserError for a model
    that gives no classes, or takes images.
    """
    preprocess = preparation(exported)
    if not preprocess.takes_clips:
        raise UserError(f"{exported.where} takes images, not clips")
    for file in files:
        try:
            facts = probe(file, page=preprocess.page)
            looks = [preprocess.clip_sampling.of_view(facts.frames, facts.rate, view, views) for view in range(views)]
            inputs = [_input(exported, preprocess, file, facts, indices) for indices in looks]
        except UserError as error:
            refused(str(error))
            continue
        shares = [exported.answers(one[None])[0] for one in inputs]
        mean = np.stack(shares).mean(0)
        yield {
            "file": str(file),
            **answer_of(exported, mean, top_k),
            **remarks_of(exported, mean),
            "over_time": over_time(looks, facts.rate, [answer_of(exported, share, top_k) for share in shares]),
        }


def _input(exported: Exported, preprocess: Preprocess, file: Path, facts: ClipFacts, indices: np.ndarray) -> np.ndarray:
    """Some frames as the model takes them: normalised, or bytes where the preprocessing is inside."""
    clip = read_frames(file, indices, facts, SHORT_SIDE, preprocess.grey_range, preprocess.page)
    (frames,) = preprocess.shown_clips(preprocess.clip_in_mode(clip), by_torch=False)
    return np.ascontiguousarray(frames) if exported.about.inside else preprocess.normalised_array(frames)
