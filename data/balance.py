"""Classes of unequal size in training: weights of the loss, or balanced sampling.

Axes: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from core.artifact import Record

ClassWeights = Literal["auto", "none"]
Sampling = Literal["natural", "balanced"]
Labels = npt.NDArray[np.int64]

IMBALANCED = 3.0
"""Training images of the largest class per image of the smallest from which `auto` weighs."""


class Balance(Record):
    """How training makes up for unequal classes."""

    weighted: bool
    """Whether the loss of an image is weighted by its class."""
    balanced: bool
    """Whether batches have equally many images of each class."""


def balance_of(
    weights: ClassWeights, sampling: Sampling, images: Mapping[str, int]
) -> tuple[Balance | None, list[str]]:
    """Decide for training images by class; None if nothing is done. Adds notes for the user."""
    known = {label: count for label, count in images.items() if count}
    most, least = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    if sampling == "balanced":
        return Balance(weighted=False, balanced=True), []
    if known[most] <= IMBALANCED * known[least]:
        return None, []
    sizes = f"{known[most]:,} training images of '{most}', {known[least]:,} of '{least}'"
    if weights == "none":
        return None, [f"classes of unequal size: {sizes}. Training does not make up for it."]
    return Balance(weighted=True, balanced=False), [
        f"classes of unequal size: {sizes}. The loss weighs each class alike "
        "(data.class_weights: none turns it off)."
    ]


def image_weights(labels_N: Labels) -> npt.NDArray[np.float32]:
    """Weights (N,) of images, inverse to the size of their class, with mean 1.

    Each class has the same sum ("balanced" in King and Zeng 2001, "Logistic Regression in Rare
    Events Data", section 4).
    """
    sizes_K = np.bincount(labels_N)
    present = int((sizes_K > 0).sum())
    return (len(labels_N) / (present * sizes_K[labels_N])).astype(np.float32)


def balanced_order(labels_N: Labels, rng: np.random.Generator) -> Labels:
    """N indices in random order, with equally many of each class (to 1).

    A class with fewer images than its share has each of them in turn, in new random orders; of a
    larger class a random part is left out.
    """
    present = np.unique(labels_N)
    shares = np.full(len(present), len(labels_N) // len(present))
    shares[rng.permutation(len(present))[: len(labels_N) % len(present)]] += 1
    chosen = []
    for label, share in zip(present.tolist(), shares.tolist(), strict=True):
        own = np.flatnonzero(labels_N == label)
        rounds = [rng.permutation(own) for _ in range(-(-share // len(own)))]
        chosen.append(np.concatenate(rounds)[:share])
    return rng.permutation(np.concatenate(chosen)).astype(np.int64)
