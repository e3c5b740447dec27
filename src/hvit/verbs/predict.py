"""Weights and files in, answers out: predictions and explanations for pictures on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from hvit.data.clips.decoding import probe
from hvit.errors import UserError
from hvit.files import JsonObject
from hvit.runtime.answers import over_time
from hvit.verbs.classifier import Classifier, answer_of, clip_input, read_or_refuse


def predict(
    classifier: Classifier, files: list[Path], top_k: int, batch_size: int, refused: Callable[[str], None]
) -> Iterator[JsonObject]:
    """The most probable classes of every image, in the order of the files.

    refused: called with one sentence for each file that cannot be read; the others go on.
    Yields {"file", "classes": [{"class", "index", "probability"}, ...]}, most probable first; in multi-label also
    "labels", the names of the classes that reach their thresholds; of numbers {"file", "values": {name: number}}; and
    what `Classifier.remarks` adds.
    """
    for start in range(0, len(files), batch_size):
        # One image at a time becomes the model's input: a batch of huge ones would take gigabytes.
        portion = files[start : start + batch_size]
        read = list(read_or_refuse(portion, classifier.preprocess, refused, classifier.preprocess.tensor))
        if not read:
            continue
        batch = torch.stack([tensor for _, tensor in read]).to(classifier.device)
        with torch.inference_mode():
            answers, features = classifier.look(batch)
        remarks = classifier.remarks(answers, features)
        for (file, _), answer, remark in zip(read, answers, remarks, strict=True):
            yield {"file": str(file), **answer_of(classifier, answer, top_k), **remark}


def predict_clips(
    classifier: Classifier, files: list[Path], top_k: int, views: int, refused: Callable[[str], None]
) -> Iterator[JsonObject]:
    """The most probable classes of every clip: as a whole, and in each of several views from its beginning to its end.

    views: how many; their probabilities are averaged, as in testing. refused: called with one sentence for each file
    that cannot be read; the others go on.
    Yields {"file", "classes": [...], "over_time": [{"start", "end", "classes": [...]}, ...]}; classes (or labels, or
    values) as in `predict`, times in seconds.
    """
    sampling = classifier.preprocess.clip_sampling
    for file in files:
        try:
            facts = probe(file, page=classifier.preprocess.page)
            looks = [sampling.of_view(facts.frames, facts.rate, view, views) for view in range(views)]
            batch = [clip_input(classifier, file, facts, indices)[0] for indices in looks]
        except UserError as error:
            refused(str(error))
            continue
        with torch.inference_mode():
            looked = [classifier.look(one[None].to(classifier.device)) for one in batch]
        shares = [share[0] for share, _ in looked]
        mean, features = torch.stack(shares).mean(0), [one for _, one in looked if one is not None]
        together = torch.cat(features).mean(0, keepdim=True) if features else None
        yield {
            "file": str(file),
            **answer_of(classifier, mean, top_k),
            **classifier.remarks(mean[None], together)[0],
            "over_time": over_time(looks, facts.rate, [answer_of(classifier, share, top_k) for share in shares]),
        }
