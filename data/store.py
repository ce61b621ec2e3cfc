"""Images on disk while a data set is prepared, so that memory does not grow with their number.

A memory map would count as memory of the process; plain reads and writes do not.

Axes: N images, H height, W width, C channels.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]

_BATCH_BYTES = 1 << 24


class Images(Protocol):
    """uint8 images (N, H, W, C): an array, or images on disk."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | Rows, /) -> UInt8: ...


class StoredImages:
    """Images in an unnamed temporary file, which disappears with the last reference to it.

    Attributes:
        shape: (N, H, W, C).
    """

    def __init__(self, folder: Path | None, shape: tuple[int, int, int, int]) -> None:
        """Make room for images in a file in `folder`; None: the system's temporary folder."""
        self._folder = Path(tempfile.gettempdir()) if folder is None else folder
        self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - lives with self
        self._row_shape = shape[1:]
        self._rows_N = np.arange(shape[0])
        self.shape: tuple[int, ...] = shape

    def __len__(self) -> int:
        return self.shape[0]

    def __setitem__(self, index: int, image_HWC: npt.ArrayLike) -> None:
        """Write one image; of several threads, each its own.

        Raises:
            OSError: the disk is full; it names the folder.
        """
        content = np.asarray(image_HWC, np.uint8).reshape(self._row_shape).tobytes()
        offset = int(self._rows_N[index]) * len(content)
        try:
            while content:
                written = os.pwrite(self._file.fileno(), content, offset)
                content, offset = content[written:], offset + written
        except OSError as error:
            error.filename = f"a temporary file in {self._folder.resolve()}"
            raise

    def __getitem__(self, rows: slice | Rows, /) -> UInt8:
        found = self._rows_N[rows]
        images_NHWC = np.empty((len(found), *self._row_shape), np.uint8)
        size = images_NHWC[:1].nbytes
        for image_HWC, row in zip(images_NHWC, found.tolist(), strict=True):
            content = os.pread(self._file.fileno(), size, row * size)
            image_HWC[:] = np.frombuffer(content, np.uint8).reshape(self._row_shape)
        return images_NHWC[..., : self.shape[-1]]

    def select(self, rows: Rows, channels: int) -> StoredImages:
        """Some of the images, with their first channels, in the same file."""
        selected = object.__new__(StoredImages)
        selected._folder, selected._file = self._folder, self._file
        selected._row_shape, selected._rows_N = self._row_shape, self._rows_N[rows]
        selected.shape = (len(rows), *self.shape[1:3], channels)
        return selected


def in_batches(images_NHWC: Images, rows: Rows | None = None) -> Iterator[UInt8]:
    """All images, or those of `rows`, in order, in arrays of about 16 MiB."""
    rows = np.arange(len(images_NHWC)) if rows is None else rows
    size = max(1, _BATCH_BYTES // int(np.prod(images_NHWC.shape[1:])))
    for start in range(0, len(rows), size):
        yield images_NHWC[rows[start : start + size]]
