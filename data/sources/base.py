"""What a data source is: where the originals come from, and how they become arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from data.images import Fit

OnDone = Callable[[int, int], None]
"""Called with the images done and the images there are."""


@dataclass(frozen=True)
class Originals:
    """A data set as it was got.

    Attributes:
        files: content by file name.
        origin: where it was got from, for people.
        tried: places that did not work before, each with its reason.
    """

    files: Mapping[str, bytes]
    origin: str
    tried: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadOptions:
    """How originals become arrays.

    Attributes:
        size: height and width in pixels.
        fit: how the aspect ratio is kept.
        max_corrupt: more unreadable images than this are an error.
    """

    size: int
    fit: Fit
    max_corrupt: int


@dataclass(frozen=True)
class Loaded:
    """Every readable image of a data set, in a fixed order.

    Attributes:
        images_NHWC: uint8, all of one shape, C 1 or 3.
        labels_N: int64, indices into `classes`.
        classes: names for people.
        test_N: which images the source itself sets apart for testing; None: it does not.
        checksums: SHA-256 of the originals, by name.
        corrupt: names of the unreadable images, sorted.
        val_N: which images the source itself sets apart for choices; None: it does not.
        files: names of the images, where each has a file of its own.
        bits: used bits of the 16-bit images; None: there are none.
        skipped: files that were not looked at, counted by the name that says why.
        notes: what the user should know, a sentence each.
    """

    images_NHWC: npt.NDArray[np.uint8]
    labels_N: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    test_N: npt.NDArray[np.bool_] | None
    checksums: Mapping[str, str] = field(default_factory=dict)
    corrupt: tuple[str, ...] = ()
    val_N: npt.NDArray[np.bool_] | None = None
    files: tuple[str, ...] = ()
    bits: int | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Source(ABC):
    """One kind of data set."""

    name: ClassVar[str]
    flips: ClassVar[bool]
    """Whether a mirrored image still belongs to its class, where params do not say."""
    fetchable: ClassVar[bool]
    """Whether the data set can be got; otherwise the user brings a folder."""

    @abstractmethod
    def fetch(self) -> Originals:
        """Get the originals.

        Raises:
            DataError: no way of getting them works; the message says why each failed.
        """

    @abstractmethod
    def check(self, folder: Path) -> None:
        """See whether `folder` can hold this data set, without decoding it.

        Raises:
            DataError: it cannot.
        """

    @abstractmethod
    def load(self, folder: Path, options: LoadOptions, on_done: OnDone) -> Loaded:
        """Decode the data set that lies in `folder`.

        Raises:
            DataError: something is missing, damaged, or beyond `options.max_corrupt`.
        """
