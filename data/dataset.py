"""The prepared dataset: metadata and arrays.

Axes: N images, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from core.artifact import Artifact, Record
from core.errors import UserError
from data.balance import Balance
from data.images import Fit

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)


PolicyName = Literal["none", "light", "standard", "strong"]


class Policy(Record):
    """Random transforms of torchvision, in the order of the fields."""

    scale: float
    """Least share of the area that a random resized crop keeps; 1: no crop."""
    trivial: bool
    """TrivialAugment (Mueller and Hutter, 2021): one random transform of random strength."""
    colour: float
    """Largest relative change of brightness, contrast and saturation."""
    erase: float
    """Probability that a random rectangle is erased (Zhong et al., 2017)."""


POLICIES: Mapping[PolicyName, Policy] = {
    "light": Policy(scale=0.7, colour=0.1, trivial=False, erase=0.0),
    "standard": Policy(scale=0.35, colour=0.3, trivial=False, erase=0.1),
    "strong": Policy(scale=0.2, colour=0.0, trivial=True, erase=0.25),
}
"""What the words of `data.augment` stand for. TrivialAugment changes colours itself."""
NO_POLICY = Policy(scale=1.0, colour=0.0, trivial=False, erase=0.0)


class Augment(Record):
    """Training augmentation."""

    flip: bool
    """Horizontal flip with probability 0.5."""
    shift: int
    """Random shift of up to this many pixels per axis, padded with 0."""
    policy: Policy | None = None
    """Further random transforms; None: none."""

    def to_json(self) -> dict[str, Any]:
        """JSON values, without `policy` where it is None."""
        content = super().to_json()
        return {key: value for key, value in content.items() if (key, value) != ("policy", None)}

    @property
    def equal_views(self) -> float:
        """Probability that two augmented views of an image are the same; 1 without augmentation."""
        shifts, policy = (2 * self.shift + 1) ** 2, self.policy
        same = 1 / (shifts * (2 if self.flip else 1))
        if policy is None:
            return same
        if policy.scale < 1 or policy.trivial or policy.colour:
            return 0.0  # each draws real numbers
        return same * (1 - policy.erase) ** 2


class DatasetInfo(Artifact):
    """Metadata of a prepared dataset."""

    SCHEMA: ClassVar[str] = "netwright/dataset/1"
    FILE: ClassVar[str] = "dataset.json"

    name: str
    """Name of the data source."""
    image_shape: tuple[int, int, int]
    """(C, H, W)."""
    classes: tuple[str, ...]
    """Names, in label order."""
    mean: tuple[float, ...]
    """Per-channel mean of the train split's pixels / 255."""
    std: tuple[float, ...]
    """Per-channel standard deviation of the train split's pixels / 255; at least 1/255."""
    counts: Mapping[SplitName, Mapping[str, int]]
    """Images per class name, per split."""
    augment: Augment
    fit: Fit
    """How images of another aspect ratio are resized."""
    source: Mapping[str, Any]
    """Checksums of the raw files, unreadable files, handling of duplicates."""
    arrays: Mapping[str, str]
    """SHA-256 of every array file, by name."""
    bits: int | None = None
    """Significant bits of the 16-bit images; None: no 16-bit images."""
    balance: Balance | None = None
    """How training makes up for classes of unequal size; None: it does not."""

    def to_json(self) -> dict[str, Any]:
        """JSON values under the file's keys, without `bits` and `balance` where they are None."""
        content = {**super().to_json(), "augment": self.augment.to_json()}
        absent = (("bits", None), ("balance", None))
        return {key: value for key, value in content.items() if (key, value) not in absent}


@dataclass(frozen=True)
class Split:
    """Arrays of one split, memory-mapped: uint8, and int64 indices into the classes."""

    images_NHWC: npt.NDArray[np.uint8]
    labels_N: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels_N)


def images_file(name: SplitName) -> str:
    """File name of a split's images."""
    return f"{name}.images.npy"


def labels_file(name: SplitName) -> str:
    """File name of a split's labels."""
    return f"{name}.labels.npy"


def read_split(folder: Path, name: SplitName) -> Split:
    """Open one split of the dataset prepared in `folder`.

    Raises:
        UserError: a file is missing, damaged, or the shapes do not match.
    """
    images_NHWC = _open(folder / images_file(name))
    labels_N = _open(folder / labels_file(name))
    fits = images_NHWC.ndim == 4 and labels_N.shape == images_NHWC.shape[:1]
    if not fits or images_NHWC.dtype != np.uint8 or labels_N.dtype != np.int64:
        raise UserError(
            f"{folder}: the '{name}' arrays are {images_NHWC.dtype} {images_NHWC.shape} and "
            f"{labels_N.dtype} {labels_N.shape}, not uint8 (N, H, W, C) and int64 (N,); "
            "run the prepare stage."
        )
    return Split(images_NHWC, labels_N)


def _open(file: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; run the prepare stage.") from None
    except (ValueError, EOFError) as error:
        raise UserError(f"{file} is damaged ({error}); run the prepare stage.") from error
    return array
