"""Stratified splits without duplicates across splits.

Axes: N images of the dataset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.errors import UserError
from data.dataset import SPLITS, SplitName
from data.store import Images, in_batches

Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Splits:
    """Indices into the dataset, sorted, disjoint."""

    parts: Mapping[SplitName, Indices]
    dropped: Indices
    """Duplicates across the source's predefined splits. They are removed from train first, then
    from val; test is unchanged."""


@dataclass(frozen=True)
class Duplicates:
    """Exact duplicates in a dataset."""

    groups_N: Indices
    """Index of the first image with the same pixels."""
    copies: int
    """Number of images that duplicate an earlier one."""
    conflicts: int
    """Number of images that duplicate an image of another class."""
    contradictions: tuple[tuple[int, int], ...]
    """Pairs of duplicates with different classes: the first with these pixels, and another."""


def find_duplicates(images_NHWC: Images, labels_N: Indices) -> Duplicates:
    """Group images of equal pixels, and count duplicates and label conflicts."""
    first: dict[bytes, int] = {}
    groups_N = np.empty(len(images_NHWC), np.int64)
    every = (image_HWC for batch_NHWC in in_batches(images_NHWC) for image_HWC in batch_NHWC)
    for index, image_HWC in enumerate(every):
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


def find_dropped(groups_N: Indices, given: Mapping[SplitName, Mask]) -> Mask:
    """Duplicates across the predefined splits, which are dropped: see `Splits.dropped`."""
    nothing_N = np.zeros(len(groups_N), bool)
    in_test_N, in_val_N = given.get("test", nothing_N), given.get("val", nothing_N)
    dropped_N: Mask = np.isin(groups_N, groups_N[in_test_N]) & ~in_test_N
    dropped_N |= np.isin(groups_N, groups_N[in_val_N]) & ~in_val_N & ~in_test_N
    return dropped_N


def shares_to_draw(
    given: Mapping[SplitName, Mask], fractions: Mapping[SplitName, float]
) -> dict[SplitName, float]:
    """The share of the images to split for each split that is not given, in drawing order."""
    names: tuple[SplitName, ...] = ("test", "val")
    shares = {name: fractions[name] for name in names if name not in given}
    if len(shares) == 2:
        shares["val"] *= 1 - shares["test"]
    return shares


def split(
    labels_N: Indices,
    groups_N: Indices,
    given: Mapping[SplitName, Mask],
    classes: Sequence[str],
    fractions: Mapping[SplitName, float],
    rng: np.random.Generator,
    dropped_N: Mask | None = None,
) -> Splits:
    """Split a dataset, stratified by class.

    Images of one group (see `Duplicates`) stay together; a group belongs to the class of its first
    image. Every split has at least one group of every class. Splits are `given` by the source, or
    drawn: `test` is a fraction of all images to split, `val` of those that are not for test.
    `dropped_N` is left out; None: duplicates across the given splits.

    Raises:
        UserError: a class has fewer distinct images than splits to fill.
    """
    nothing_N = np.zeros(len(labels_N), bool)
    in_test_N, in_val_N = given.get("test", nothing_N), given.get("val", nothing_N)
    dropped_N = find_dropped(groups_N, given) if dropped_N is None else dropped_N
    free = np.flatnonzero(~in_test_N & ~in_val_N & ~dropped_N)
    shares = shares_to_draw(given, fractions)
    parts: dict[str, list[Indices]] = {name: [] for name in SPLITS}
    owners_N = labels_N[groups_N]
    for label, name in enumerate(classes):
        members = free[owners_N[free] == label]
        mine_N = labels_N == label
        distinct = len(np.unique(groups_N[members]))
        if distinct <= len(shares):
            raise UserError(
                f"class '{name}' has {distinct} distinct images to split; "
                f"{' and '.join([*shares, 'train'])} need at least one each. "
                f"{_why_few(label, mine_N, owners_N, dropped_N, classes)}"
            )
        _divide(members, groups_N[members], shares, rng, parts)
        if "val" in given and not (in_val_N & ~dropped_N & mine_N).any():
            raise UserError(
                f"class '{name}': every validation image is a copy of a test image. Add other "
                "images of the class to the validation split."
            )
    for part, mask_N in given.items():
        parts[part] = [np.flatnonzero(mask_N & ~dropped_N)]
    joined = {name: np.sort(np.concatenate(parts[name])) for name in SPLITS}
    return Splits(joined, np.flatnonzero(dropped_N))


def _why_few(
    label: int, mine_N: Mask, owners_N: Indices, dropped_N: Mask, classes: Sequence[str]
) -> str:
    """Why a class has too few distinct images, and the fix."""
    foreign = owners_N[mine_N & (owners_N != label)]
    if len(foreign):
        owners = ", ".join(repr(classes[owner]) for owner in np.unique(foreign))
        return (
            f"{len(foreign)} of its {int(mine_N.sum())} images are copies of images of {owners}: "
            "conflicting labels. Remove the copies from the wrong class."
        )
    copies = int((mine_N & dropped_N).sum())
    reason = f"{copies} are copies of test or validation images, and are left out. "
    return f"{reason if copies else ''}Add images to the class, or leave it out."


def _divide(
    members: Indices,
    groups: Indices,
    shares: Mapping[SplitName, float],
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
