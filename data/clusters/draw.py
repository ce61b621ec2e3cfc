"""Splits of groups that may have images of several classes.

Axes: N images, G groups, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from core.errors import UserError
from data.dataset import SPLITS, SplitName
from data.image_walk import join_first
from data.splits import Indices, Mask, Splits, shares_to_draw

Counts = npt.NDArray[np.float64]


def require_whole_groups(
    groups: Sequence[str], given: Mapping[SplitName, Mask], dropped_N: Mask
) -> None:
    """Check that no group has images in two of the predefined splits.

    Raises:
        UserError: some have; the message names them.
    """
    of: dict[str, set[str]] = {}
    for index in np.flatnonzero(~dropped_N).tolist():
        split = next((name for name, mask_N in given.items() if mask_N[index]), "train")
        of.setdefault(groups[index], set()).add(split)
    across = [
        f"{group} ({', '.join(split for split in SPLITS if split in splits)})"
        for group, splits in sorted(of.items())
        if len(splits) > 1 and given
    ]
    if across:
        raise UserError(
            f"data.group: {len(across)} of {len(of)} groups have images in several of the data's "
            f"own splits, so that test images resemble training images: {join_first(across)}. Move "
            "each group to one split, or put all images in one folder to have new splits drawn."
        )


def split_groups(
    labels_N: Indices,
    clusters_N: Indices,
    given: Mapping[SplitName, Mask],
    classes: Sequence[str],
    fractions: Mapping[SplitName, float],
    rng: np.random.Generator,
    dropped_N: Mask,
) -> Splits:
    """Split a data set so that clusters stay whole and every class has its share of each split.

    Groups are visited in random order and join a split while that brings its counts per class
    nearer to their targets (the squared relative error, as in stratified group folds).

    Raises:
        UserError: a class has images in too few groups.
    """
    taken_N = dropped_N.copy()
    for mask_N in given.values():
        taken_N |= mask_N
    free = np.flatnonzero(~taken_N)
    _, places = np.unique(clusters_N[free], return_inverse=True)
    counts_GK = np.zeros((places.max(initial=-1) + 1, len(classes)))
    np.add.at(counts_GK, (places, labels_N[free]), 1)
    shares = shares_to_draw(given, fractions)
    _require_enough(counts_GK, classes, [*shares, "train"])
    part_G = np.full(len(counts_GK), "train", dtype="<U5")
    for done, (name, share) in enumerate(shares.items()):
        left = rng.permutation(np.flatnonzero(part_G == "train"))
        target_K = np.maximum(1, share * counts_GK.sum(axis=0))
        chosen = _choose(counts_GK, left, target_K, spare=len(shares) - done)
        part_G[chosen] = name
    parts = {name: np.flatnonzero(mask_N & ~dropped_N) for name, mask_N in given.items()}
    drawn: tuple[SplitName, ...] = tuple(name for name in SPLITS if name not in given)
    parts |= {name: free[part_G[places] == name] for name in drawn}
    _require_all_classes({name: labels_N[parts[name]] for name in SPLITS}, classes)
    return Splits({name: parts[name] for name in SPLITS}, np.flatnonzero(dropped_N))


def _choose(counts_GK: Counts, left: Indices, target_K: Counts, spare: int) -> list[int]:
    """The groups of a split; every class keeps images in `spare` of the other groups."""
    sum_K, kept_K = np.zeros_like(target_K), (counts_GK[left] > 0).sum(axis=0)
    chosen = dict[int, None]()
    for needed in (False, True):  # the second time, whatever has a class that is missing
        for group in left.tolist():
            mine_K = counts_GK[group]
            nearer = _error(sum_K + mine_K, target_K) < _error(sum_K, target_K)
            missing = bool(((sum_K == 0) & (mine_K > 0)).any())
            if group in chosen or not (missing if needed else nearer):
                continue
            if (kept_K - (mine_K > 0) >= np.where(mine_K > 0, spare, 0)).all():
                chosen[group] = None
                sum_K += mine_K
                kept_K -= mine_K > 0
    return list(chosen)


def _error(sum_K: Counts, target_K: Counts) -> float:
    return float((((sum_K - target_K) / target_K) ** 2).sum())


def _require_enough(counts_GK: Counts, classes: Sequence[str], parts: Sequence[str]) -> None:
    groups_K = (counts_GK > 0).sum(axis=0).tolist()
    few = [f"'{n}' ({c})" for n, c in zip(classes, groups_K, strict=True) if c < len(parts)]
    if few:
        raise UserError(
            f"data.group: {', '.join(parts)} need at least one group of every class each; there "
            f"are too few in {join_first(few)}. Add images of other groups, or make data.group "
            "finer."
        )


def _require_all_classes(labels: Mapping[SplitName, Indices], classes: Sequence[str]) -> None:
    missing = [
        f"'{classes[label]}' in {name}"
        for name, labels_N in labels.items()
        for label in np.setdiff1d(np.arange(len(classes)), labels_N).tolist()
    ]
    if missing:
        raise UserError(
            "data.group: the groups cannot be divided so that every split has every class: none of "
            f"{join_first(missing)}. Add images of other groups, choose a finer data.group, or "
            "give the splits yourself."
        )
