"""What a run folder says about removing blocks: the mean of its training images, and whether it was masked before."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hvit.data.open import open_data
from hvit.errors import UserError
from hvit.explain.methods.baseline_images import NamedImage, mean_image
from hvit.explain.methods.removed_units import removes_units
from hvit.explain.tree import Absent
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.weights.open import open_any
from hvit.randomness import derive_seed
from hvit.recipe import read_recipe
from hvit.run_names import RECIPE
from hvit.verbs.classifier import Classifier

MOST_IMAGES, MOST_CLIPS = 512, 64


def training_mean(run: Path, classifier: Classifier) -> NamedImage:
    """The mean of a run's training images, as the model sees them in evaluation: of 512 at most, or 64 clips.

    They are drawn at random, but always the same. Raises UserError for what is no run folder, and where the run's data
    is no longer there.
    """
    if not (run / RECIPE).is_file():
        raise UserError(
            f"the baseline dataset is the mean of a run's training images, and {run} is no run folder: give the folder "
            "of the run, or another baseline"
        )
    recipe, preprocess = read_recipe(run), classifier.preprocess
    images = open_data(recipe.data, recipe.seed, len(preprocess.mean)).train
    most = MOST_CLIPS if preprocess.takes_clips else MOST_IMAGES
    random = np.random.default_rng(derive_seed(0, "mean image"))
    chosen = np.sort(random.permutation(len(images))[:most]).tolist()
    return mean_image((preprocess.tensor(images.read(one, one)[0]) for one in chosen), "the mean training image")


def usual_absent(run: Path, classifier: Classifier) -> Absent:
    """How blocks are made absent if nobody says: removed for models that began with masked pretraining, and can.

    That is known of a run folder whose recipe names the weights of a masked autoencoder, while these are still there.
    """
    if not removes_units(classifier.model) or not (run / RECIPE).is_file():
        return "exchanged"
    weights = read_recipe(run).weights
    try:
        masked = weights is not None and isinstance(open_any(weights).model, MaskedAutoencoder)
    except UserError:  # weights that are gone, or a name
        masked = False
    return "removed" if masked else "exchanged"
