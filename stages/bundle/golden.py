"""Golden inputs and outputs: `golden.npz`, and the numbers that turn an image into an input.

`golden.npz` is a plain zip of `.npy` arrays, stored and dated at the epoch. It is read here by
hand, never by NumPy's loader: types and shapes must be exactly the expected ones before a byte is
interpreted. Axes: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data.images import Fit
from stages.bundle.errors import BundleError
from stages.bundle.manifest import parse_json

PREPROCESS_SCHEMA = "netwright/preprocess/1"
GOLDEN, PREPROCESS, LABELS = "golden.npz", "preprocess.json", "labels.json"
Float32 = npt.NDArray[np.float32]

MEAN_SHARE = 0.1
"""Of the tolerance: the most that all logits may differ by on average.

Where a value is rounded the other way on another processor, some logits of some images move by one
step. A wrong network moves most of them.
"""
MARGIN = 1.5
"""On the largest difference that was measured between two computations of one network."""
LEAST = {"float32": 2e-4, "float16": 2e-3, "int8": 0.012}
"""Least tolerances, as shares of the largest logit: sums in another order; one step of int8."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_HEADER = re.compile(
    r"\{'descr': '([<|][fiu]\d)', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n"
)


class Preprocess(BaseModel):
    """From an image's bytes to the network's input, as data.stream.normalise does it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_: str = Field(alias="schema", pattern=f"^{PREPROCESS_SCHEMA}$")
    layout: str = Field(pattern="^NCHW$")
    image_shape: tuple[int, int, int]
    """(C, H, W)."""
    fit: Fit
    """How images of another shape are brought to this one."""
    scale: float = Field(gt=0)
    """Pixels are divided by it first."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bits: int | None = Field(None, ge=8, le=16)
    """Used bits of 16-bit images, which become min(pixel >> (bits - 8), 255) before all else;
    None: the data set had none."""

    def __call__(self, images_NHWC: npt.NDArray[np.uint8]) -> Float32:
        """uint8 images (N, H, W, C) to float32 inputs (N, C, H, W): (x / scale - mean) / std."""
        scaled = images_NHWC.astype(np.float32) / np.float32(self.scale)
        normal = (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(normal.transpose(0, 3, 1, 2))


@dataclass(frozen=True)
class Golden:
    """Real images with what they must give.

    Attributes:
        images_NHWC: uint8 originals.
        inputs_NCHW: float32, normalised.
        outputs_NK: float32 logits.
        labels_N: int64 true labels.
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
    """How far a logit may be from its golden value on another machine.

    Args:
        precision: that the network is delivered in.
        largest: golden logit, absolute.
        measured: largest difference of any logit between what the ONNX file states and what the
            delivered file computes, over the test split; None where the file does not run here.
        most_share: the largest tolerance, as a share of `largest`; it holds where nothing was
            measured.
    """
    most = most_share * largest
    if measured is None:
        return most
    return min(most, max(MARGIN * measured, LEAST[precision] * largest))


def difference_of(path: Path, found_NK: Float32, golden: Golden, runtime: str) -> float:
    """The largest difference of any logit from its golden value.

    Raises:
        BundleError: it is past the tolerance, or the mean over all logits is past its share.
    """
    off_NK = np.abs(found_NK - golden.outputs_NK)
    largest, mean, most = float(off_NK.max()), float(off_NK.mean()), golden.tolerance
    # Written so that a difference that is not a number fails.
    if not largest <= most:
        raise BundleError(
            f"{path}: golden outputs differ by {largest:.4g}, and {most:.4g} is allowed, with "
            f"{runtime}."
        )
    if not mean <= MEAN_SHARE * most:
        raise BundleError(
            f"{path}: golden outputs differ by {mean:.4g} on average, and {MEAN_SHARE * most:.4g} "
            f"is allowed, with {runtime}."
        )
    return largest


def golden_bytes(golden: Golden) -> bytes:
    """The file `golden.npz`: the same bytes for equal arrays."""
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


def read_golden(
    path: Path, files: Mapping[str, bytes], count: int, shape: tuple[int, int, int], classes: int
) -> Golden:
    """The golden arrays of a bundle.

    Args:
        path: the bundle, for messages.
        files: its files' bytes by name.
        count: N, as the manifest says.
        shape: (C, H, W), as `preprocess.json` says.
        classes: K, as `labels.json` says.

    Raises:
        BundleError: it is no zip of exactly the expected arrays.
    """
    channels, height, width = shape
    expected: dict[str, tuple[str, tuple[int, ...]]] = {
        "images.npy": ("|u1", (count, height, width, channels)),
        "inputs.npy": ("<f4", (count, channels, height, width)),
        "labels.npy": ("<i8", (count,)),
        "outputs.npy": ("<f4", (count, classes)),
        "tolerance.npy": ("<f8", ()),
    }
    try:
        with zipfile.ZipFile(io.BytesIO(files.get(GOLDEN, b""))) as file:
            found = sorted((i.filename, i.compress_type) for i in file.infolist())
            if found != [(name, zipfile.ZIP_STORED) for name in sorted(expected)]:
                raise BundleError(f"{path}: {GOLDEN} holds other arrays than golden ones.")
            rows = {n: _array(path, n, file.read(n), *expected[n]) for n in expected}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise BundleError(f"{path}: {GOLDEN} is missing or damaged ({error}).") from error
    return Golden(
        rows["images.npy"],
        rows["inputs.npy"],
        rows["outputs.npy"],
        rows["labels.npy"],
        float(rows["tolerance.npy"]),
    )


def read_preprocess(path: Path, files: Mapping[str, bytes]) -> Preprocess:
    """The preprocessing of a bundle.

    Raises:
        BundleError: it is missing or malformed.
    """
    try:
        found = Preprocess.model_validate(parse_json(path, PREPROCESS, files))
    except ValidationError as error:
        raise BundleError(
            f"{path}: {PREPROCESS} is malformed: {error.errors()[0]['msg']}."
        ) from error
    if not len(found.mean) == len(found.std) == found.image_shape[0] or 0 in found.std:
        raise BundleError(f"{path}: {PREPROCESS} needs one mean and std, not 0, per channel.")
    return found


def read_labels(path: Path, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The class names of a bundle, in the order of the logits.

    Raises:
        BundleError: they are missing or malformed.
    """
    labels = parse_json(path, LABELS, files).get("labels")
    if not isinstance(labels, list) or not labels or not all(isinstance(x, str) for x in labels):
        raise BundleError(f"{path}: {LABELS} has no list of class names.")
    return tuple(labels)


def _array(
    path: Path, name: str, content: bytes, kind: str, shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """One `.npy` of version 1.0, if it has exactly this type and shape."""
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
