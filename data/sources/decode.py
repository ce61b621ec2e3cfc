"""Decodes the images of a catalogue to a file on disk.

The data set is greyscale if every image is, else RGB. 16-bit images are reduced to 8 bits with one
scale: the smallest power of two above the largest value of all images outside a predefined test
split.

Axes: N images, H height, W width, 3 channels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np
import numpy.typing as npt

from core.errors import UserError
from data.image_walk import escape_name, join_first, pluralise
from data.images import ALL_BITS, Decoded, ImageError, decode_file, is_grey, used_bits
from data.sources.base import LoadOptions, OnDone
from data.store import StoredImages

_WORKERS = min(4, os.cpu_count() or 1)  # does not change the result
_AT_ONCE = 64  # files in memory


@dataclass(frozen=True)
class DecodedAll:
    """The readable images of a catalogue."""

    images_NHWC: StoredImages
    rows: npt.NDArray[np.int64]
    """Their indices in the catalogue."""
    corrupt: tuple[str, ...]
    """Names of the unreadable ones, sorted."""
    checksum: str
    """SHA-256 over the names and contents of all."""
    bits: int | None
    """Significant bits of 16-bit images; None: there are none."""
    notes: tuple[str, ...]


def decode_all(
    names: Sequence[str],
    read: Callable[[Sequence[int]], Iterator[Callable[[], bytes]]],
    options: LoadOptions,
    seen_N: npt.NDArray[np.bool_],
    on_done: OnDone,
) -> DecodedAll:
    """Decode images; those in `seen_N` decide on the scale of 16-bit pixels.

    Raises:
        UserError: more than `options.max_corrupt` are unreadable.
    """
    count, size = len(names), options.size
    images_NHW3 = StoredImages(options.scratch, (count, size, size, 3))
    images = _Images(names, read, options, images_NHW3, on_done)
    images.decode(range(count), ALL_BITS)
    bits = images.rescale([index for index in images.peaks if seen_N[index]])
    _check_corrupt(list(images.corrupt.values()), count, options.max_corrupt)
    rows = np.setdiff1d(np.arange(count), list(images.corrupt))
    return DecodedAll(
        images_NHWC=images_NHW3.select(rows, channels=3 if images.coloured else 1),
        rows=rows,
        corrupt=tuple(sorted(names[index] for index in images.corrupt)),
        checksum=images.checksum(),
        bits=bits,
        notes=tuple(images.notes(bits)),
    )


@dataclass
class _Images:
    """The decoded files of a data set.

    Attributes:
        images_NHW3: output buffer of the pixels.
        corrupt: reason why a file is unreadable, by index.
        peaks: largest value of a 16-bit file, by index.
        checksums: of the files that can be opened, by index.
        coloured: indices of the images that are not grey.
    """

    names: Sequence[str]
    read: Callable[[Sequence[int]], Iterator[Callable[[], bytes]]]
    options: LoadOptions
    images_NHW3: StoredImages
    on_done: OnDone
    corrupt: dict[int, str] = field(default_factory=dict)
    peaks: dict[int, int] = field(default_factory=dict)
    checksums: dict[int, bytes] = field(default_factory=dict)
    coloured: set[int] = field(default_factory=set)

    def decode(self, indices: Sequence[int], bits: int) -> None:
        """Decode some of the files, with `bits` significant bits of 16-bit pixels."""
        files = zip(indices, self.read(indices), strict=True)
        with ThreadPoolExecutor(_WORKERS) as workers:  # Pillow releases the GIL
            while some := list(islice(files, _AT_ONCE)):
                for index, found in workers.map(partial(self._read, bits=bits), some):
                    self._keep(index, found)

    def _keep(self, index: int, found: Decoded | str) -> None:
        self.coloured.discard(index)
        if isinstance(found, str):
            self.corrupt[index] = found
        else:
            self.images_NHW3[index] = found.pixels_HW3
            if found.peak is not None:
                self.peaks[index] = found.peak
            if not is_grey(found.pixels_HW3):
                self.coloured.add(index)
        self.on_done(index + 1, len(self.names))

    def _read(self, file: tuple[int, Callable[[], bytes]], bits: int) -> tuple[int, Decoded | str]:
        """A file's pixels, or the reason why it has none."""
        (index, read), options = file, self.options
        name = escape_name(self.names[index])
        try:
            content = read()
            self.checksums[index] = hashlib.sha256(content).digest()
            return index, decode_file(content, name, options.size, options.fit, bits)
        except ImageError as error:
            return index, str(error)

    def rescale(self, seen: Sequence[int]) -> int | None:
        """Decode 16-bit files again if those in `seen` use fewer bits; returns the bits."""
        if not self.peaks:
            return None
        bits = used_bits(max((self.peaks[index] for index in seen), default=(1 << ALL_BITS) - 1))
        if bits < ALL_BITS:
            self.decode(sorted(self.peaks), bits)
        return bits

    def checksum(self) -> str:
        """SHA-256 over the names and contents of all files."""
        digest = hashlib.sha256()
        for index, name in enumerate(self.names):
            content = self.checksums.get(index)
            known = "unreadable" if content is None else content.hex()
            digest.update(f"{known}  {name}\n".encode())
        return digest.hexdigest()

    def notes(self, bits: int | None) -> list[str]:
        """Messages about 16-bit images."""
        if bits is None:
            return []
        others = len(self.names) - len(self.corrupt) - len(self.peaks)
        mixed = f"; the 8-bit images keep their own full scale: {others}" if others else ""
        return [
            f"16-bit pixels are read as {bits}-bit values, since the largest is "
            f"{max(self.peaks.values())}: {pluralise(len(self.peaks), 'image')}{mixed}."
        ]


def _check_corrupt(reasons: Sequence[str], files: int, most: int) -> None:
    if len(reasons) > most:
        listed = join_first(reasons, "\n  ")
        raise UserError(
            f"{len(reasons)} of {files} images cannot be read, and data.max_corrupt allows "
            f"{most}:\n  {listed}\n"
            "Repair or remove them, or raise data.max_corrupt."
        )
