"""A folder of the user's images: one subfolder per class.

Or one folder per split (train, val, test) with one subfolder per class: these splits are used, and
a missing one is drawn from train. Every file below a class folder, at any depth, is an image of
the class, except hidden files and operating system metadata (`LEFT_BEHIND`). Files outside the
class folders are ignored. The dataset is greyscale if every image is, else RGB.

16-bit images are reduced to 8 bits with one scale: the smallest power of two above the largest
value of all images outside a predefined test split.

Axes: N images, H height, W width, 3 channels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.errors import UserError
from data.dataset import SPLITS
from data.image_tree import ImageTree, read_tree
from data.image_walk import escape_name, join_first, pluralise
from data.images import (
    ALL_BITS,
    Decoded,
    ImageError,
    decode_file,
    is_grey,
    read_image_file,
    used_bits,
)
from data.sources.base import Loaded, LoadOptions, OnDone, Originals, Source

_WORKERS = min(4, os.cpu_count() or 1)  # does not change the result


class ImageFolder(Source):
    """A folder of images, with its predefined splits if it has some."""

    name = "folder"
    flips = False  # wrong for letters and digits; params enable it for photographs
    fetchable = False

    def fetch(self) -> Originals:
        """Raise an error: the user must set data.path."""
        raise UserError(
            "data.source 'folder' reads your own images: set data.path to the folder that holds "
            "one subfolder of images for every class."
        )

    def check(self, folder: Path) -> None:
        """Check that there are at least two classes with enough files for every split."""
        _read_usable_tree(folder)

    def load(self, folder: Path, options: LoadOptions, on_done: OnDone) -> Loaded:
        """Decode every file, in the order of splits, class names and file names."""
        tree = _read_usable_tree(folder)
        files = [file for c in tree.classes for file in c.files]
        counts = [len(c.files) for c in tree.classes]
        labels_N = np.repeat([tree.names.index(c.name) for c in tree.classes], counts)
        splits_N = np.repeat([c.split or "" for c in tree.classes], counts)
        images_NHW3 = np.empty((len(files), options.size, options.size, 3), np.uint8)
        images = _Images(folder, files, options, images_NHW3, on_done)
        images.decode(range(len(files)), ALL_BITS)
        bits = images.rescale([i for i in images.peaks if splits_N[i] != "test"])
        _check_corrupt(list(images.corrupt.values()), len(files), options.max_corrupt)
        readable = np.setdiff1d(np.arange(len(files)), list(images.corrupt))
        if images.corrupt:
            images_NHW3 = images_NHW3[readable]
        grey = all(is_grey(image) for image in images_NHW3)
        return Loaded(
            images_NHWC=np.ascontiguousarray(images_NHW3[..., :1]) if grey else images_NHW3,
            labels_N=labels_N[readable].astype(np.int64),
            classes=tree.names,
            given={s: splits_N[readable] == s for s in tree.given if s != "train"},
            checksums={"folder": images.checksum()},
            corrupt=tuple(sorted(files[index] for index in images.corrupt)),
            files=tuple(files[index] for index in readable),
            bits=bits,
            skipped=tree.skipped,
            notes=(*tree.notes, *images.notes(bits)),
        )


def _read_usable_tree(folder: Path) -> ImageTree:
    """Read the classes of a folder and check that a classifier can be trained on them.

    Raises:
        UserError: it cannot; the message has the fix.
    """
    tree, shown = read_tree(folder), escape_name(str(folder))
    if not tree.classes:
        raise UserError(
            f"{shown} has no subfolders; put the images of each class in one subfolder."
        )
    if len(tree.names) == 1:
        only = escape_name(tree.names[0])
        inside = {
            file.split("/")[1] for c in tree.classes for file in c.files if file.count("/") > 1
        }
        wrapped = f" If the folders in it are the classes, set data.path to {shown}/{only}."
        raise UserError(
            f"{shown} has one class only, '{only}'; a classifier needs at least two."
            f"{wrapped if len(inside) > 1 else ''}"
        )
    # One image for train, and one for each split drawn from it.
    least = 3 - len(set(tree.given) - {"train"})
    small = [c for c in tree.classes if c.split in (None, "train") and len(c.files) < least]
    if small:
        parts = [split for split in SPLITS if split == "train" or split not in tree.given]
        listed = join_first([f"'{c.name}' ({len(c.files)})" for c in small])
        raise UserError(
            f"{shown}: too few images for {_listed(parts)} in {listed}. "
            f"Every class needs at least {least}: add some, or remove the folder of the class."
        )
    return tree


@dataclass
class _Images:
    """The decoded files of a dataset.

    Attributes:
        files: paths relative to the dataset folder.
        images_NHW3: output buffer of the pixels.
        corrupt: reason why a file is unreadable, by index.
        peaks: largest value of a 16-bit file, by index.
        checksums: of the files that can be opened, by index.
    """

    folder: Path
    files: Sequence[str]
    options: LoadOptions
    images_NHW3: npt.NDArray[np.uint8]
    on_done: OnDone
    corrupt: dict[int, str] = field(default_factory=dict)
    peaks: dict[int, int] = field(default_factory=dict)
    checksums: dict[int, str] = field(default_factory=dict)

    def decode(self, indices: Sequence[int], bits: int) -> None:
        """Decode some of the files, with `bits` significant bits of 16-bit pixels."""
        with ThreadPoolExecutor(_WORKERS) as workers:  # Pillow releases the GIL
            found = workers.map(partial(self._read, bits=bits), indices)
            for index, read in zip(indices, found, strict=True):
                if isinstance(read, str):
                    self.corrupt[index] = read
                else:
                    self.images_NHW3[index] = read.pixels_HW3
                    if read.peak is not None:
                        self.peaks[index] = read.peak
                self.on_done(index + 1, len(self.files))

    def _read(self, index: int, bits: int) -> Decoded | str:
        """A file's pixels, or the reason why it has none."""
        name, options = self.files[index], self.options
        try:
            content = read_image_file(self.folder / name)
            self.checksums[index] = hashlib.sha256(content).hexdigest()
            return decode_file(content, escape_name(name), options.size, options.fit, bits)
        except ImageError as error:
            return str(error)

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
        for index, file in enumerate(self.files):
            digest.update(f"{self.checksums.get(index, 'unreadable')}  {file}\n".encode())
        return digest.hexdigest()

    def notes(self, bits: int | None) -> list[str]:
        """Messages about 16-bit images."""
        if bits is None:
            return []
        others = len(self.files) - len(self.corrupt) - len(self.peaks)
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


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
