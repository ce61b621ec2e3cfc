"""A list of the images of a data set, before any of them is decoded.

Axes: N images.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from core.errors import UserError
from data.clusters.groups import group_names
from data.dataset import SPLITS, SplitName
from data.image_tree import ROLES
from data.image_walk import escape_name, join_first
from data.sources.base import Layout, Loaded, LoadOptions, OnDone, Originals, Source
from data.sources.decode import decode_all

Reader = Callable[[Sequence[int]], Iterator[Callable[[], bytes]]]
"""For the images of some sorted indices, in this order: a function that reads the file, which may
run in another thread and raises `ImageError`."""


@dataclass(frozen=True)
class Catalogue:
    """All images of a data set, in a fixed order."""

    names: Sequence[str]
    """A unique name per image, for messages and checksums."""
    labels_N: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    read: Reader
    splits_N: npt.NDArray[np.str_] | None = None
    """Names of the predefined splits; None: the source has none."""
    paths: Sequence[str] = ()
    """What `data.group` is found in; empty: the names."""
    groups: Sequence[str] = ()
    """The group per image; empty: the source has none."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def given(self) -> tuple[SplitName, ...]:
        """The predefined splits."""
        if self.splits_N is None:
            return ()
        found = set(np.unique(self.splits_N).tolist())
        return tuple(split for split in SPLITS if split in found)


class CatalogueSource(Source):
    """Images of the user, listed without decoding them."""

    fetchable = False
    flips = False  # wrong for letters and digits; params enable it for photographs
    wanted: ClassVar[str]
    """What data.path must name."""

    @abstractmethod
    def catalogue(self, folder: Path, layout: Layout) -> Catalogue:
        """List the images in `folder`.

        Raises:
            UserError: they are no data set of this kind.
        """

    def fetch(self) -> Originals:
        """Raise an error: the user must set data.path."""
        raise UserError(
            f"data.source '{self.name}' reads your own images: set data.path to {self.wanted}."
        )

    def check(self, folder: Path, layout: Layout | None = None) -> None:
        """Check that there are at least two classes with enough images for every split."""
        self._usable(folder, layout or Layout())

    def load(self, folder: Path, options: LoadOptions, on_done: OnDone) -> Loaded:
        """Decode every image, in the catalogue's order."""
        found = self._usable(folder, options.layout)
        splits_N = np.full(len(found.names), "") if found.splits_N is None else found.splits_N
        decoded = decode_all(found.names, found.read, options, splits_N != "test", on_done)
        rows, names = decoded.rows, found.names
        groups = group_names(options.layout.group, found.paths or names, found.groups)
        return Loaded(
            images_NHWC=decoded.images_NHWC,
            labels_N=found.labels_N[rows].astype(np.int64),
            classes=found.classes,
            given={s: splits_N[rows] == s for s in found.given if s != "train"},
            checksums={"folder": decoded.checksum},
            corrupt=decoded.corrupt,
            files=tuple(names[row] for row in rows.tolist()),
            groups=tuple(groups[row] for row in rows.tolist()) if groups else (),
            bits=decoded.bits,
            skipped=found.skipped,
            notes=(*found.notes, *decoded.notes),
        )

    def _usable(self, folder: Path, layout: Layout) -> Catalogue:
        """The catalogue, if a classifier can be trained on it and every image has a group."""
        found = self.catalogue(folder, layout)
        require_usable(escape_name(str(folder)), found)
        group_names(layout.group, found.paths or found.names, found.groups)
        return found


def index_classes(labels: Sequence[Any]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """The classes of some labels, sorted (numbers by value), and the index per image.

    Raises:
        UserError: a label is missing or no text or number.
    """
    wrong = [f"{label!r} (image {n})" for n, label in enumerate(labels, 1) if not _is_label(label)]
    if wrong:
        raise UserError(
            f"labels must be text or whole numbers: {join_first(wrong)}. Correct or remove them."
        )
    names = [str(label).strip() for label in labels]
    distinct = set(names)
    numeric = all(name.isdecimal() for name in distinct)
    classes = sorted(distinct, key=(lambda n: (int(n), n)) if numeric else None)
    places = {name: place for place, name in enumerate(classes)}
    return tuple(classes), np.array([places[name] for name in names], np.int64)


def _is_label(label: Any) -> bool:
    text = isinstance(label, str) and label.strip() != ""
    return text or (isinstance(label, int) and not isinstance(label, bool))


def split_of_file(name: str) -> SplitName | None:
    """The split that a file's name begins with, such as `train-00001.tar`, or its folder's."""
    path = PurePosixPath(name)
    for text in (path.name, path.parent.name):
        word = re.split(r"[-_.]", text.lower())[0]
        if word in ROLES:
            return ROLES[word]
    return None


def split_names(splits: Sequence[Any], where: str) -> npt.NDArray[np.str_]:
    """The split per image, from the words of `ROLES`.

    Raises:
        UserError: another word, none for some of the images, or no training images.
    """
    found = [ROLES.get(str(split).strip().lower()) for split in splits]
    unknown = sorted({repr(split) for split, role in zip(splits, found, strict=True) if not role})
    if unknown:
        raise UserError(
            f"{where}: unknown splits {join_first(unknown)}. Every image must be in train, val or "
            "test, or none may have a split."
        )
    if "train" not in found:
        raise UserError(f"{where}: no image is in the split train. Add it.")
    return np.array(found, dtype="<U5")


def require_usable(shown: str, found: Catalogue) -> None:
    """Check that a classifier can be trained and evaluated.

    Raises:
        UserError: it cannot; the message has the fix.
    """
    if len(found.classes) < 2:
        listed = join_first(found.classes)
        raise UserError(
            f"{shown} has one class only, '{listed}'; a classifier needs at least two."
            if found.classes
            else f"{shown} has no images."
        )
    in_train_N = np.ones(len(found.labels_N), bool)
    if found.splits_N is not None:
        in_train_N = found.splits_N == "train"
        _require_equal_classes(shown, found)
    # One image for train, and one for each split drawn from it.
    least = 3 - len(set(found.given) - {"train"})
    counts = np.bincount(found.labels_N[in_train_N], minlength=len(found.classes))
    small = [
        f"'{n}' ({c})" for n, c in zip(found.classes, counts.tolist(), strict=True) if c < least
    ]
    if small:
        parts = [split for split in SPLITS if split == "train" or split not in found.given]
        raise UserError(
            f"{shown}: too few images for {_listed(parts)} in {join_first(small)}. "
            f"Every class needs at least {least}: add some, or remove the class."
        )


def _require_equal_classes(shown: str, found: Catalogue) -> None:
    """Raise an error if a class has no images in one of the predefined splits."""
    missing = [
        f"'{found.classes[label]}' in {split}"
        for split in found.given
        for label in np.setdiff1d(
            np.arange(len(found.classes)), found.labels_N[found.splits_N == split]
        ).tolist()
    ]
    if missing:
        raise UserError(
            f"{shown}: every class needs images in every split; there are none of "
            f"{join_first(missing)}. Add some, or remove the class from the other splits."
        )


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
