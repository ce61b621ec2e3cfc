"""Interface of data sources: fetch the raw files and decode them to arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from data.dataset import PolicyName, SplitName
from data.images import Fit
from data.sources.table import TableParams
from data.store import Images

OnDone = Callable[[int, int], None]
"""Called with the number of processed images and the total."""


@dataclass(frozen=True)
class Originals:
    """Raw files of a dataset: content by name, their origin, and what failed before and why."""

    files: Mapping[str, bytes]
    origin: str
    tried: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Where labels, splits and groups stand: the keys of `DataParams`."""

    table: TableParams = field(default_factory=TableParams)
    group: int | str | None = None


@dataclass(frozen=True)
class LoadOptions:
    """How raw files are decoded: the keys of `DataParams`."""

    size: int
    fit: Fit
    max_corrupt: int
    layout: Layout = field(default_factory=Layout)
    scratch: Path | None = None
    """Folder of temporary files; None: the system's."""


@dataclass(frozen=True)
class Loaded:
    """All readable images of a dataset, in a fixed order."""

    images_NHWC: Images
    labels_N: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    given: Mapping[SplitName, npt.NDArray[np.bool_]] = field(default_factory=dict)
    """Masks of the source's own test and validation split, where it has one."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the raw files, by name."""
    corrupt: tuple[str, ...] = ()
    """Names of the unreadable images, sorted."""
    files: tuple[str, ...] = ()
    """File name per image, if each image is one file."""
    groups: tuple[str, ...] = ()
    """Group per image; empty: none. Images of one group stay in one split."""
    bits: int | None = None
    """Significant bits of the 16-bit images; None: there are none."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Number of ignored files, by the name that caused it."""
    notes: tuple[str, ...] = ()
    """Messages for the user."""


class Source(ABC):
    """One kind of dataset."""

    name: ClassVar[str]
    flips: ClassVar[bool]
    """Default of params: whether horizontal flips keep the class."""
    policy: ClassVar[PolicyName] = "none"
    """Default of params: the augmentation."""
    fetchable: ClassVar[bool]
    """Whether the dataset can be downloaded; otherwise the user provides a folder."""

    @abstractmethod
    def fetch(self) -> Originals:
        """Fetch the raw files.

        Raises:
            UserError: every location failed; the message has the reasons.
        """

    @abstractmethod
    def check(self, folder: Path, layout: Layout | None = None) -> None:
        """Check that `folder` holds this dataset, without decoding it.

        Args:
            folder: of the raw files.
            layout: of the user's own images; None: the default.

        Raises:
            UserError: it does not.
        """

    @abstractmethod
    def load(self, folder: Path, options: LoadOptions, on_done: OnDone) -> Loaded:
        """Decode the dataset in `folder`.

        Raises:
            UserError: files are missing, or more than `options.max_corrupt` are damaged.
        """
