"""Golden inputs and outputs (`golden.npz`), preprocessing constants and labels of a bundle.

`golden.npz` is parsed here, not by NumPy's loader: types and shapes must match exactly before any
data is interpreted. Axes: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from bundles.archive import Archive, BundleError
from bundles.read import Bundle
from data.images import Fit

PREPROCESS_SCHEMA = "netwright/preprocess/1"
GOLDEN, PREPROCESS, LABELS = "golden.npz", "preprocess.json", "labels.json"
Float32 = npt.NDArray[np.float32]

MEAN_SHARE = 0.1
"""Largest mean logit difference, as a share of the tolerance.

Different rounding on another processor changes some logits by one step; a wrong network changes
most of them.
"""
MARGIN = 1.5
"""Factor on the largest logit difference measured between ONNX and delivered file."""
LEAST = {"float32": 2e-4, "float16": 2e-3, "int8": 0.012}
"""Least tolerances, as shares of the largest logit: summation order; one int8 step."""

INPUT_TOLERANCE = 1e-4
"""Largest difference of a normalised input: only rounding may differ."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_HEADER = re.compile(
    r"\{'descr': '([<|][fiu]\d)', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n"
)


class Preprocess(BaseModel):
    """Preprocessing from image to network input, equal to data.stream.normalise."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_: str = Field(alias="schema", pattern=f"^{PREPROCESS_SCHEMA}$")
    layout: str = Field(pattern="^NCHW$")
    image_shape: tuple[int, int, int]
    """(C, H, W)."""
    fit: Fit
    """How images of another shape are resized."""
    scale: float = Field(gt=0)
    """Divisor of the pixel values, applied first."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bits: int | None = Field(None, ge=8, le=16)
    """Used bits of 16-bit images, first converted to min(pixel >> (bits - 8), 255);
    None: the data set has no such images."""

    @model_validator(mode="after")
    def _one_per_channel(self) -> Self:
        if not len(self.mean) == len(self.std) == self.image_shape[0] or 0 in self.std:
            raise ValueError("one mean and one non-zero std per channel are needed")
        return self

    def __call__(self, images_NHWC: npt.NDArray[np.uint8]) -> Float32:
        """Convert uint8 (N, H, W, C) to float32 (N, C, H, W): (x / scale - mean) / std."""
        scaled = images_NHWC.astype(np.float32) / np.float32(self.scale)
        normal = (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(normal.transpose(0, 3, 1, 2))


@dataclass(frozen=True)
class Golden:
    """Real images with their expected outputs (logits).

    Attributes:
        inputs_NCHW: the normalised images.
        labels_N: true labels.
        tolerance: largest absolute difference of any logit.
    """

    images_NHWC: npt.NDArray[np.uint8]
    inputs_NCHW: Float32
    outputs_NK: Float32
    labels_N: npt.NDArray[np.int64]
    tolerance: float


def tolerance_of(
    precision: str, largest: float, measured: float | None, most_share: float
) -> float:
    """Return the tolerance of a logit against its golden value on another machine.

    Args:
        precision: delivered precision.
        largest: largest absolute golden logit.
        measured: largest logit difference between the ONNX file and the delivered file over the
            test split; None if it cannot run here.
        most_share: upper limit as a share of `largest`; used alone without a measurement.
    """
    most = most_share * largest
    if measured is None:
        return most
    return min(most, max(MARGIN * measured, LEAST[precision] * largest))


def difference_of(path: Path, found_NK: Float32, golden: Golden, runtime: str) -> float:
    """Return the largest difference of any logit from its golden value.

    Raises:
        BundleError: it exceeds the tolerance, or the mean over all logits exceeds its limit.
    """
    if found_NK.shape != golden.outputs_NK.shape:
        raise BundleError(f"{path}: {runtime} returns outputs of shape {found_NK.shape}.")
    off_NK = np.abs(found_NK - golden.outputs_NK)
    largest, most = float(off_NK.max()), golden.tolerance
    limits = (("", largest, most), (" on average", float(off_NK.mean()), MEAN_SHARE * most))
    for what, found, allowed in limits:
        if not found <= allowed:  # NaN fails
            raise BundleError(
                f"{path}: golden outputs differ by {found:.4g}{what}, more than the allowed "
                f"{allowed:.4g}, with {runtime}."
            )
    return largest


def golden_bytes(golden: Golden) -> bytes:
    """Return the file `golden.npz`: equal bytes for equal arrays."""
    arrays = {
        "images.npy": golden.images_NHWC,
        "inputs.npy": golden.inputs_NCHW,
        "labels.npy": golden.labels_N,
        "outputs.npy": golden.outputs_NK,
        "tolerance.npy": np.array(golden.tolerance, np.float64),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, np.asarray(array, order="C"), allow_pickle=False)
            file.writestr(zipfile.ZipInfo(name, _EPOCH), content.getvalue())
    return buffer.getvalue()


def read_golden(bundle: Bundle) -> Golden:
    """Read the golden arrays of a bundle.

    Raises:
        BundleError: the file is not a zip of exactly the expected arrays, or they contradict the
            rest of the bundle.
    """
    path, stated = bundle.path, bundle.manifest.golden
    how, count = bundle.read_record(PREPROCESS, Preprocess), stated.images
    classes = len(read_labels(bundle))
    channels, height, width = how.image_shape
    expected: dict[str, tuple[str, tuple[int, ...]]] = {
        "images.npy": ("|u1", (count, height, width, channels)),
        "inputs.npy": ("<f4", (count, channels, height, width)),
        "outputs.npy": ("<f4", (count, classes)),
        "labels.npy": ("<i8", (count,)),
        "tolerance.npy": ("<f8", ()),
    }
    try:
        with zipfile.ZipFile(io.BytesIO(bundle.files.get(GOLDEN, b""))) as file:
            found = sorted((i.filename, i.compress_type) for i in file.infolist())
            if found != [(name, zipfile.ZIP_STORED) for name in sorted(expected)]:
                raise BundleError(f"{path}: {GOLDEN} does not contain exactly the golden arrays.")
            arrays = [_array(path, n, file.read(n), *expected[n]) for n in expected]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise BundleError(f"{path}: {GOLDEN} is missing or damaged ({error}).") from error
    golden = Golden(arrays[0], arrays[1], arrays[2], arrays[3], float(arrays[4]))
    largest = float(np.abs(golden.outputs_NK).max())
    off = float(np.abs(how(golden.images_NHWC) - golden.inputs_NCHW).max())
    if golden.tolerance != stated.tolerance:
        raise BundleError(f"{path}: {GOLDEN} and manifest have different tolerances.")
    if not 0 < golden.tolerance < largest:
        raise BundleError(
            f"{path}: the tolerance {golden.tolerance:.4g} is not between 0 and the largest golden "
            "output."
        )
    if not np.isin(golden.labels_N, np.arange(classes)).all():
        raise BundleError(f"{path}: {GOLDEN} has labels outside the classes.")
    if not off <= INPUT_TOLERANCE:
        raise BundleError(f"{path}: preprocessing does not reproduce the golden inputs ({off:g}).")
    return golden


def read_labels(archive: Archive) -> tuple[str, ...]:
    """Read the class names of a bundle, in the order of the logits.

    Raises:
        BundleError: they are missing or malformed.
    """
    labels = archive.read_json(LABELS).get("labels")
    if not isinstance(labels, list) or not labels or not all(isinstance(x, str) for x in labels):
        raise BundleError(f"{archive.path}: {LABELS} has no list of class names.")
    return tuple(labels)


def _array(
    path: Path, name: str, content: bytes, kind: str, shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """Parse one `.npy` of version 1.0 with exactly this type and shape."""
    refusal = BundleError(f"{path}: {name} in {GOLDEN} is not {kind} of shape {shape}.")
    length = int.from_bytes(content[8:10], "little")
    match = _HEADER.fullmatch(content[10 : 10 + length].decode("latin-1"))
    if content[:8] != b"\x93NUMPY\x01\x00" or match is None or match[1] != kind:
        raise refusal
    found = tuple(int(part) for part in match[2].split(",") if part.strip())
    data = content[10 + length :]
    if found != shape or len(data) != np.dtype(kind).itemsize * int(np.prod(shape)):
        raise refusal
    return np.frombuffer(data, kind).reshape(shape)
