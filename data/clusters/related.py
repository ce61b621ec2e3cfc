"""What belongs together in a data set, and what the user is told about it.

Axes: N images, E pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.clusters.draw import require_whole_groups
from data.clusters.issues import Contradiction, LabelIssues, LabelledImage, locate
from data.clusters.near import Near, find_near, join_clusters
from data.image_walk import join_first, pluralise
from data.settings import DataParams
from data.sources.base import Loaded
from data.splits import Duplicates, Indices, Mask, Splits, find_dropped, find_duplicates


@dataclass(frozen=True)
class Related:
    """What belongs together in a data set.

    Attributes:
        exact: images of equal pixels.
        near: near-duplicates among the first images of equal pixels; None: not searched.
        dropped_N: exact duplicates across the source's splits.
        clusters_N: the first image of what stays in one split.
    """

    exact: Duplicates
    near: Near | None
    dropped_N: Mask
    clusters_N: Indices


def relate(loaded: Loaded, params: DataParams) -> Related:
    """Find duplicates and near-duplicates, and join them with the groups."""
    labels_N, count = loaded.labels_N, len(loaded.labels_N)
    exact = find_duplicates(loaded.images_NHWC, labels_N)
    dropped_N = find_dropped(exact.groups_N, loaded.given)
    if loaded.groups:
        require_whole_groups(loaded.groups, loaded.given, dropped_N)
    # Of equal images the first one that stays: a dropped one would hide that it leaks.
    kept = np.flatnonzero(~dropped_N)
    first = np.sort(kept[np.unique(exact.groups_N[kept], return_index=True)[1]])
    near = None
    if params.finds_near:
        near = find_near(loaded.images_NHWC, labels_N, first)
    if near is None and not loaded.groups:
        return Related(exact, near, dropped_N, exact.groups_N)
    links = [np.stack([exact.groups_N, np.arange(count)], axis=1)]
    if near is not None:
        links.append(_within_splits(near.links_E2, loaded))
    if loaded.groups:
        _, first_G, places = np.unique(loaded.groups, return_index=True, return_inverse=True)
        links.append(np.stack([first_G[places], np.arange(count)], axis=1))
    clusters_N = join_clusters(np.concatenate(links), count)
    return Related(exact, near, dropped_N, clusters_N)


def _within_splits(links_E2: Indices, loaded: Loaded) -> Indices:
    """Pairs that connect near-duplicates within each split of the source, which stay there."""
    count = len(loaded.labels_N)
    parts_N = np.zeros(count, np.int64)
    for place, mask_N in enumerate(loaded.given.values(), 1):
        parts_N[mask_N] = place
    keys_N = join_clusters(links_E2, count) * (len(loaded.given) + 1) + parts_N
    _, first_K, places_N = np.unique(keys_N, return_index=True, return_inverse=True)
    return np.stack([first_K[places_N], np.arange(count)], axis=1)


def _is_across(links_E2: Indices, loaded: Loaded) -> Mask:
    """Whether the two images of a pair are in different splits of the source."""
    across: Mask = np.zeros(len(links_E2), bool)
    for mask_N in loaded.given.values():
        across |= mask_N[links_E2[:, 0]] != mask_N[links_E2[:, 1]]
    return across


def near_counts(near: Near, loaded: Loaded) -> tuple[int, int]:
    """Number of images that are near-duplicates of an earlier one, and across given splits."""
    clusters_N = join_clusters(near.links_E2, len(loaded.labels_N))
    copies = int((clusters_N != np.arange(len(clusters_N))).sum())
    across = np.unique(near.links_E2[_is_across(near.links_E2, loaded)][:, 1])
    return copies, len(across)


def related_notes(loaded: Loaded, related: Related, indices: Splits) -> list[str]:
    """Notes on contradicting labels, near-duplicates and images dropped from splits."""
    notes, exact, near = [], related.exact, related.near
    if exact.conflicts:
        listed = _pairs(loaded, exact.contradictions)
        notes.append(
            "identical images with different labels: "
            f"{pluralise(exact.conflicts, 'image')}{listed}."
        )
    if near is not None and near.contradictions:
        listed = _pairs(loaded, near.contradictions)
        notes.append(
            "nearly identical images with different labels: "
            f"{pluralise(len(near.contradictions), 'pair')}{listed}."
        )
    if near is not None and (across := near_counts(near, loaded)[1]):
        notes.append(
            f"{pluralise(across, 'image')} of the data's own splits nearly equal one of another "
            "split: accuracies on test images may be too high."
        )
    if len(indices.dropped):
        groups_N = exact.groups_N
        kept = np.setdiff1d(np.arange(len(groups_N)), indices.dropped)
        # Of duplicates, those in train are dropped before those in val.
        owner = dict(zip(groups_N[kept].tolist(), kept.tolist(), strict=True))
        pairs = [(index, owner[int(groups_N[index])]) for index in indices.dropped.tolist()]
        notes.append(
            "dropped from train or val as duplicates of test or validation images: "
            f"{pluralise(len(pairs), 'image')}{_pairs(loaded, pairs)}."
        )
    return notes


def _pairs(loaded: Loaded, pairs: Sequence[tuple[int, int]]) -> str:
    """Format the files of some pairs; empty if images have no files of their own."""
    if not loaded.files:
        return ""
    files = [f"{loaded.files[one]} = {loaded.files[other]}" for one, other in pairs]
    return f" ({join_first(files)})"


def label_issues(loaded: Loaded, related: Related, indices: Splits) -> LabelIssues:
    """List the contradicting labels, with where the images are in the prepared arrays."""
    if not loaded.files:
        return LabelIssues(contradictions=())
    splits, places = locate(indices.parts, len(loaded.labels_N))

    def image(index: int) -> LabelledImage:
        label = loaded.classes[int(loaded.labels_N[index])]
        return LabelledImage(
            file=loaded.files[index], label=label, split=splits[index], index=places[index]
        )

    near = () if related.near is None else related.near.contradictions
    return LabelIssues(
        contradictions=(
            *(
                Contradiction(kind="identical", first=image(one), second=image(other))
                for one, other in related.exact.contradictions
            ),
            *(
                Contradiction(kind="near", first=image(one), second=image(other))
                for one, other in near
            ),
        )
    )
