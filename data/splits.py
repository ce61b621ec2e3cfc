"""Stratified splits in which no image meets its own copy.

Axes: N images of the data set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
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
        dropped: the same pixels as an image in one of the source's own splits, outside it. Copies
            leave train first, then val; test stays as it is.
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
        contradictions: pairs of images of equal pixels and different classes: the first with
            these pixels, and one more.
    """

    groups_N: Indices
    copies: int
    conflicts: int
    contradictions: tuple[tuple[int, int], ...] = ()


def find_duplicates(images_NHWC: npt.NDArray[np.uint8], labels_N: Indices) -> Duplicates:
    """Group images of equal pixels, and count copies and contradicting labels."""
    first: dict[bytes, int] = {}
    groups_N = np.empty(len(images_NHWC), np.int64)
    for index, image_HWC in enumerate(images_NHWC):
        digest = hashlib.sha256(image_HWC.tobytes()).digest()
        groups_N[index] = first.setdefault(digest, index)
    in_conflict = np.zeros(len(groups_N), bool)
    other_N = np.flatnonzero(labels_N != labels_N[groups_N])
    in_conflict[groups_N[other_N]] = True
    return Duplicates(
        groups_N=groups_N,
        copies=len(groups_N) - len(first),
        conflicts=int(in_conflict[groups_N].sum()),
        contradictions=tuple((int(groups_N[index]), int(index)) for index in other_N),
    )


def split(
    labels_N: Indices,
    groups_N: Indices,
    test_N: npt.NDArray[np.bool_] | None,
    classes: Sequence[str],
    val_fraction: float,
    test_fraction: float,
    rng: np.random.Generator,
    val_N: npt.NDArray[np.bool_] | None = None,
) -> Splits:
    """Divide a data set, class by class.

    Images of one group stay together; the group counts for the class of its first image. A
    split's share of a class is met as closely as whole groups allow, and is never empty.

    Args:
        labels_N: class of every image.
        groups_N: index of the first image with the same pixels, as `find_duplicates` gives.
        test_N: the source's own test split, kept as it is; None: one is drawn.
        classes: names, for messages.
        val_fraction: share of what is not test; used only where `val_N` is None.
        test_fraction: share of everything that is divided; used only where `test_N` is None.
        rng: where the order is drawn from.
        val_N: the source's own validation split, kept but for copies of test images; None: one
            is drawn.

    Raises:
        SplitError: a class has fewer distinct images than there are splits to fill.
    """
    nothing_N = np.zeros(len(labels_N), bool)
    in_test_N = nothing_N if test_N is None else test_N
    in_val_N = nothing_N if val_N is None else val_N
    dropped_N = np.isin(groups_N, groups_N[in_test_N]) & ~in_test_N
    dropped_N |= np.isin(groups_N, groups_N[in_val_N]) & ~in_val_N & ~in_test_N
    free = np.flatnonzero(~in_test_N & ~in_val_N & ~dropped_N)
    shares = {}
    if test_N is None:
        shares["test"] = test_fraction
    if val_N is None:
        shares["val"] = val_fraction if test_N is not None else (1 - test_fraction) * val_fraction
    parts: dict[str, list[Indices]] = {"train": [], "val": [], "test": []}
    # A group's class is its first image's: its copies follow it, whatever their labels.
    class_of_free = labels_N[groups_N[free]]
    for label, name in enumerate(classes):
        members = free[class_of_free == label]
        distinct = len(np.unique(groups_N[members]))
        if distinct <= len(shares):
            raise _too_few(label, distinct, shares, labels_N, groups_N, dropped_N, classes)
        _divide(members, groups_N[members], shares, rng, parts)
        if val_N is not None:
            kept = np.flatnonzero(val_N & ~dropped_N & (labels_N == label))
            if len(kept) == 0:
                raise SplitError(
                    f"class '{name}': every validation image is a copy of a test image. Add other "
                    "images to the class's validation split."
                )
            parts["val"].append(kept)
    if test_N is not None:
        parts["test"] = [np.flatnonzero(test_N)]
    train, val, test = (np.sort(np.concatenate(parts[part])) for part in ("train", "val", "test"))
    return Splits(train, val, test, np.flatnonzero(dropped_N))


def _too_few(
    label: int,
    distinct: int,
    shares: Mapping[str, float],
    labels_N: Indices,
    groups_N: Indices,
    dropped_N: npt.NDArray[np.bool_],
    classes: Sequence[str],
) -> SplitError:
    """Why a class cannot be divided: too few images, copies of one, or copies of other classes'."""
    mine_N = labels_N == label
    said = (
        f"class '{classes[label]}' has {distinct} distinct images that can be divided; "
        f"{' and '.join([*shares, 'train'])} need one each at the least."
    )
    owners_N = labels_N[groups_N]
    foreign_N = mine_N & (owners_N != label)
    if foreign_N.any():
        owners = [
            name for other, name in enumerate(classes) if (owners_N[foreign_N] == other).any()
        ]
        return SplitError(
            f"{said} {int(foreign_N.sum())} of its {int(mine_N.sum())} images are copies of images "
            f"of {', '.join(repr(owner) for owner in owners)}: one picture with two labels. Remove "
            "the copies from the class they do not belong to."
        )
    copies = int((mine_N & dropped_N).sum())
    if copies:
        said += f" {copies} are copies of test or validation images, and are left out."
    return SplitError(f"{said} Add images to the class, or leave it out.")


def _divide(
    members: Indices,
    groups: Indices,
    shares: Mapping[str, float],
    rng: np.random.Generator,
    parts: dict[str, list[Indices]],
) -> None:
    """Add the images of one class to `parts`: the shares first, the rest to train."""
    distinct, sizes = np.unique(groups, return_counts=True)
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
