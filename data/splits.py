"""Stratified splits in which no image meets its own copy.

Axes: N images of the data set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.errors import DataError

Indices = npt.NDArray[np.int64]


class SplitError(DataError):
    """A data set too small, or too repetitive, for the splits asked for."""


@dataclass(frozen=True)
class Splits:
    """Indices into the data set, sorted, disjoint.

    Attributes:
        train: what is learnt from.
        val: what choices are made on.
        test: what is reported.
        dropped: outside the source's own test split, but the same pixels as an image in it.
    """

    train: Indices
    val: Indices
    test: Indices
    dropped: Indices


@dataclass(frozen=True)
class Duplicates:
    """Exact copies in a data set.

    Attributes:
        groups_N: which images are the same: the index of the first one with these pixels.
        copies: images whose pixels had already occurred.
        conflicts: images that share their pixels with an image of another class.
    """

    groups_N: Indices
    copies: int
    conflicts: int


def find_duplicates(images_NHWC: npt.NDArray[np.uint8], labels_N: Indices) -> Duplicates:
    """Group images of equal pixels, and count copies and contradicting labels."""
    first: dict[bytes, int] = {}
    groups_N = np.empty(len(images_NHWC), np.int64)
    for index, image_HWC in enumerate(images_NHWC):
        digest = hashlib.sha256(image_HWC.tobytes()).digest()
        groups_N[index] = first.setdefault(digest, index)
    in_conflict = np.zeros(len(groups_N), bool)
    in_conflict[groups_N[labels_N != labels_N[groups_N]]] = True
    return Duplicates(
        groups_N=groups_N,
        copies=len(groups_N) - len(first),
        conflicts=int(in_conflict[groups_N].sum()),
    )


def split(
    labels_N: Indices,
    groups_N: Indices,
    test_N: npt.NDArray[np.bool_] | None,
    classes: Sequence[str],
    val_fraction: float,
    test_fraction: float,
    rng: np.random.Generator,
) -> Splits:
    """Divide a data set, class by class.

    Images of one group stay together; the group counts for the class of its first image. A
    split's share of a class is met as closely as whole groups allow, and is never empty.

    Args:
        labels_N: class of every image.
        groups_N: index of the first image with the same pixels, as `find_duplicates` gives.
        test_N: the source's own test split, kept as it is; None: one is drawn.
        classes: names, for messages.
        val_fraction: share of what is not test.
        test_fraction: share of everything; used only where `test_N` is None.
        rng: where the order is drawn from.

    Raises:
        SplitError: a class has fewer distinct images than there are splits to fill.
    """
    official = np.zeros(len(labels_N), bool) if test_N is None else test_N
    dropped_N = np.isin(groups_N, groups_N[official]) & ~official
    free = np.flatnonzero(~official & ~dropped_N)
    parts: dict[str, list[Indices]] = {"train": [], "val": [], "test": []}
    # A group's class is its first image's: its copies follow it, whatever their labels.
    class_of_free = labels_N[groups_N[free]]
    for label, name in enumerate(classes):
        members = free[class_of_free == label]
        shares = {"val": val_fraction}
        if test_N is None:
            shares = {"test": test_fraction, "val": (1 - test_fraction) * val_fraction}
        _divide(members, groups_N[members], shares, name, rng, parts)
    test = [np.flatnonzero(official)] if test_N is not None else parts["test"]
    train, val, test_indices = (
        np.sort(np.concatenate(part)) for part in (parts["train"], parts["val"], test)
    )
    return Splits(train, val, test_indices, np.flatnonzero(dropped_N))


def _divide(
    members: Indices,
    groups: Indices,
    shares: dict[str, float],
    name: str,
    rng: np.random.Generator,
    parts: dict[str, list[Indices]],
) -> None:
    """Add the images of one class to `parts`: the shares first, the rest to train."""
    distinct, sizes = np.unique(groups, return_counts=True)
    if len(distinct) <= len(shares):
        raise SplitError(
            f"class '{name}' has {len(distinct)} distinct images that can be divided; "
            f"{' and '.join([*shares, 'train'])} need one each at the least. "
            "Add images to the class, or leave it out."
        )
    left = list(rng.permutation(len(distinct)))
    for done, (part, share) in enumerate(shares.items()):
        target = max(1, round(share * len(members)))
        spare = len(left) - (len(shares) - done)  # the splits still to come need one each
        chosen = _fill(left, sizes, target, spare)
        left = [index for index in left if index not in chosen]
        parts[part].append(members[np.isin(groups, distinct[list(chosen)])])
    parts["train"].append(members[np.isin(groups, distinct[left])])


def _fill(candidates: list[int], sizes: Indices, target: int, most: int) -> set[int]:
    """Groups, in the order given, of together at most `target` images; never none."""
    chosen: set[int] = set()
    count = 0
    for index in candidates:
        if len(chosen) < most and count + sizes[index] <= target:
            chosen.add(index)
            count += int(sizes[index])
    return chosen or {min(candidates, key=lambda index: int(sizes[index]))}
