"""scikit-learn's digits: 1,797 handwritten digits of 8 x 8 pixels, no download."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np

from core.errors import UserError
from data.images import resize_all
from data.sources.base import Layout, Loaded, LoadOptions, OnDone, Originals, Source

IMAGES, LABELS = "images.npy", "labels.npy"
_BRIGHTEST = 16.0  # largest value in scikit-learn's arrays


class Digits(Source):
    """scikit-learn's digits, without a predefined test split."""

    name = "digits"
    flips = False
    fetchable = True

    def fetch(self) -> Originals:
        """Load the arrays from scikit-learn: uint8 (1797, 8, 8, 1), labels int64 (1797,)."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images_NHWC = np.rint(digits.images[..., None] * (255.0 / _BRIGHTEST)).astype(np.uint8)
        files = {IMAGES: images_NHWC, LABELS: digits.target.astype(np.int64)}
        return Originals({name: _npy(array) for name, array in files.items()}, "scikit-learn")

    def check(self, folder: Path, layout: Layout | None = None) -> None:
        """Check that both arrays exist."""
        for name in (IMAGES, LABELS):
            if not (folder / name).is_file():
                raise UserError(
                    f"{folder} holds no {name}: it is not a fetched copy of the digits. "
                    "Set data.path to the output folder of the fetch stage."
                )

    def load(self, folder: Path, options: LoadOptions, on_done: OnDone) -> Loaded:
        """Read the arrays and resize the images."""
        self.check(folder)
        contents = {name: (folder / name).read_bytes() for name in (IMAGES, LABELS)}
        try:
            images_NHWC, labels_N = (
                np.load(io.BytesIO(contents[name]), allow_pickle=False) for name in (IMAGES, LABELS)
            )
        except (ValueError, EOFError) as error:
            raise UserError(f"{folder} holds damaged arrays ({error}); fetch again.") from error
        if images_NHWC.shape[1:] != (8, 8, 1) or len(images_NHWC) != len(labels_N):
            raise UserError(
                f"{folder} holds arrays whose shapes are not those of the digits; fetch again."
            )
        return Loaded(
            images_NHWC=resize_all(images_NHWC, options.size, on_done, options.scratch),
            labels_N=labels_N,
            classes=tuple("0123456789"),
            checksums={
                name: hashlib.sha256(content).hexdigest() for name, content in contents.items()
            },
        )


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
