"""The prepared dataset: metadata and arrays.

Axes: N images, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from core.files import FileFormatError, read_json, write_json
from data.errors import DataError
from data.images import Fit

SCHEMA = "netwright/dataset/1"
FILE = "dataset.json"
SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)


@dataclass(frozen=True)
class Augment:
    """Training augmentation.

    Attributes:
        flip: horizontal flip with probability 0.5.
        shift: random shift of up to this many pixels per axis, padded with 0.
    """

    flip: bool
    shift: int


@dataclass(frozen=True)
class DatasetInfo:
    """Metadata of a prepared dataset.

    Attributes:
        name: name of the data source.
        image_shape: (C, H, W).
        classes: names, in label order.
        mean: per-channel mean of the train split's pixels / 255.
        std: per-channel standard deviation of the train split's pixels / 255; at least 1/255.
        counts: images per class name, per split.
        augment: training augmentation.
        fit: how images of another aspect ratio are resized.
        source: checksums of the raw files, unreadable files, handling of duplicates.
        arrays: SHA-256 of every array file, by name.
        bits: significant bits of the 16-bit images; None: no 16-bit images.
    """

    name: str
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    counts: Mapping[SplitName, Mapping[str, int]]
    augment: Augment
    fit: Fit
    source: Mapping[str, Any]
    arrays: Mapping[str, str]
    bits: int | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values, which `from_json` reads back."""
        content = asdict(self)
        if self.bits is None:
            del content["bits"]
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> DatasetInfo:
        """Parse the output of `to_json`; a `schema` key is ignored."""
        channels, height, width = content["image_shape"]
        return cls(
            name=content["name"],
            image_shape=(channels, height, width),
            classes=tuple(content["classes"]),
            mean=tuple(content["mean"]),
            std=tuple(content["std"]),
            counts=content["counts"],
            augment=Augment(**content["augment"]),
            fit=content["fit"],
            source=content["source"],
            arrays=content["arrays"],
            bits=content.get("bits"),
        )

    @classmethod
    def read(cls, folder: Path) -> DatasetInfo:
        """Read the metadata of the dataset prepared in `folder`.

        Raises:
            DataError: the file is missing, damaged, or has another schema version.
        """
        file = folder / FILE
        try:
            return cls.from_json(read_json(file, SCHEMA))
        except FileFormatError as error:
            raise DataError(f"{error} (stage prepare)") from error
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{file} is incomplete ({error}); run the prepare stage.") from error

    def write(self, folder: Path) -> None:
        """Write the metadata atomically."""
        write_json(folder / FILE, SCHEMA, self.to_json())


@dataclass(frozen=True)
class Split:
    """Arrays of one split, memory-mapped.

    Attributes:
        images_NHWC: uint8.
        labels_N: int64, indices into `DatasetInfo.classes`.
    """

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
        DataError: a file is missing, damaged, or the shapes do not match.
    """
    images_NHWC = _open(folder / images_file(name))
    labels_N = _open(folder / labels_file(name))
    fits = images_NHWC.ndim == 4 and labels_N.shape == images_NHWC.shape[:1]
    if not fits or images_NHWC.dtype != np.uint8 or labels_N.dtype != np.int64:
        raise DataError(
            f"{folder}: the '{name}' arrays are {images_NHWC.dtype} {images_NHWC.shape} and "
            f"{labels_N.dtype} {labels_N.shape}, not uint8 (N, H, W, C) and int64 (N,); "
            "run the prepare stage."
        )
    return Split(images_NHWC, labels_N)


def _open(file: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{file}: no such file; run the prepare stage.") from None
    except (ValueError, EOFError) as error:
        raise DataError(f"{file} is damaged ({error}); run the prepare stage.") from error
    return array
