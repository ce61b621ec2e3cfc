"""Stratified splits without duplicates across splits.

Axes: N images of the dataset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.errors import DataError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """Indices into the dataset, sorted, disjoint.

    Attributes:
        train: the training split.
        val: the validation split, for selection.
        test: the test split, for reported accuracy.
        dropped: duplicates across the source's predefined splits. They are removed from train
            first, then from val; test is unchanged.
    """

    train: Indices
    val: Indices
    test: Indices
    dropped: Indices


@dataclass(frozen=True)
class Duplicates:
    """Exact duplicates in a dataset.

    Attributes:
        groups_N: index of the first image with the same pixels.
        copies: number of images that duplicate an earlier one.
        conflicts: number of images that duplicate an image of another class.
        contradictions: pairs of duplicates with different classes: the first image with these
            pixels, and another one.
    """

    groups_N: Indices
    copies: int
    conflicts: int
    contradictions: tuple[tuple[int, int], ...] = ()


def find_duplicates(images_NHWC: npt.NDArray[np.uint8], labels_N: Indices) -> Duplicates:
    """Group images of equal pixels, and count duplicates and label conflicts."""
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
    """Split a dataset, stratified by class.

    Images of one group stay together; a group belongs to the class of its first image. Every
    split has at least one group of every class.

    Args:
        labels_N: class of every image.
        groups_N: index of the first image with the same pixels, from `find_duplicates`.
        test_N: mask of the predefined test split, kept unchanged; None: one is drawn.
        classes: names, for messages.
        val_fraction: fraction of the non-test images; used only if `val_N` is None.
        test_fraction: fraction of all images to split; used only if `test_N` is None.
        rng: random number generator of the order.
        val_N: mask of the predefined validation split, kept except for duplicates of test
            images; None: one is drawn.

    Raises:
        DataError: a class has fewer distinct images than splits to fill.
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
    # A group has the class of its first image, whatever the labels of its duplicates.
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
                raise DataError(
                    f"class '{name}': every validation image is a copy of a test image. Add other "
                    "images of the class to the validation split."
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
) -> DataError:
    """The error for a class with too few distinct images, with the reason."""
    mine_N = labels_N == label
    problem = (
        f"class '{classes[label]}' has {distinct} distinct images to split; "
        f"{' and '.join([*shares, 'train'])} need at least one each."
    )
    owners_N = labels_N[groups_N]
    foreign_N = mine_N & (owners_N != label)
    if foreign_N.any():
        owners = [
            name for other, name in enumerate(classes) if (owners_N[foreign_N] == other).any()
        ]
        return DataError(
            f"{problem} {int(foreign_N.sum())} of its {int(mine_N.sum())} images are copies of "
            f"images of {', '.join(repr(owner) for owner in owners)}: conflicting labels. Remove "
            "the copies from the wrong class."
        )
    copies = int((mine_N & dropped_N).sum())
    if copies:
        problem += f" {copies} are copies of test or validation images, and are left out."
    return DataError(f"{problem} Add images to the class, or leave it out.")


def _divide(
    members: Indices,
    groups: Indices,
    shares: Mapping[str, float],
    rng: np.random.Generator,
    parts: dict[str, list[Indices]],
) -> None:
    """Distribute the images of one class over `parts`; the rest goes to train."""
    distinct, sizes = np.unique(groups, return_counts=True)
    left = list(rng.permutation(len(distinct)))
    for done, (part, share) in enumerate(shares.items()):
        target = max(1, round(share * len(members)))
        spare = len(left) - (len(shares) - done)  # each remaining split needs one
        chosen = _fill(left, sizes, target, spare)
        left = [index for index in left if index not in chosen]
        parts[part].append(members[np.isin(groups, distinct[list(chosen)])])
    parts["train"].append(members[np.isin(groups, distinct[left])])


def _fill(candidates: list[int], sizes: Indices, target: int, most: int) -> set[int]:
    """Choose groups, in the order given, of at most `target` images in all; at least one."""
    chosen: set[int] = set()
    count = 0
    for index in candidates:
        if len(chosen) < most and count + sizes[index] <= target:
            chosen.add(index)
            count += int(sizes[index])
    return chosen or {min(candidates, key=lambda index: int(sizes[index]))}
