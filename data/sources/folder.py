"""A folder of the user's images: one subfolder a class, named after it.

Every file below a subfolder counts as an image of its class, however deep; hidden files and the
notes that file managers leave do not. Files beside the subfolders are not looked at. The data
set is grey where every image is, RGB otherwise.

Axes: N images, H height, W width, 3 channels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.errors import DataError, ImageError
from data.images import decode, is_grey, read_image_file
from data.sources.base import Loaded, LoadOptions, OnDone, Originals, Source

_NO_IMAGES = frozenset({"thumbs.db", "desktop.ini"})
_LEAST_PER_CLASS = 3  # one each for train, val and test
_MOST_NAMED = 10  # in a message; dataset.json names all
_WORKERS = min(4, os.cpu_count() or 1)  # changes the speed only


class ImageFolder(Source):
    """Any folder of images; without a test split of its own."""

    name = "folder"
    flips = False  # letters and digits must not be; params say so for photographs
    fetchable = False

    def fetch(self) -> Originals:
        """Say that the folder is the user's to name."""
        raise DataError(
            "data.source 'folder' reads your own images: set data.path to the folder that holds "
            "one subfolder of images for every class."
        )

    def check(self, folder: Path) -> None:
        """See whether there are two classes or more, of three files or more each."""
        classes = find_classes(folder)
        if not classes:
            raise DataError(f"{folder} has no subfolders; put each class's images in its own.")
        if len(classes) == 1:
            raise DataError(
                f"{folder} has one class only, '{classes[0].name}'; a classifier needs two or more."
            )
        small = [c for c in classes if len(c.files) < _LEAST_PER_CLASS]
        if small:
            listed = _some([f"'{c.name}' ({len(c.files)})" for c in small])
            raise DataError(
                f"{folder}: too few images for train, val and test in {listed}. "
                f"Every class needs {_LEAST_PER_CLASS} at the least: add some, or remove the "
                "class's folder."
            )

    def load(self, folder: Path, options: LoadOptions, on_done: OnDone) -> Loaded:
        """Decode every file, in the order of class names and file names."""
        self.check(folder)
        classes = find_classes(folder)
        files = [file for c in classes for file in c.files]
        labels_N = np.repeat(np.arange(len(classes)), [len(c.files) for c in classes])
        images_NHW3 = np.empty((len(files), options.size, options.size, 3), np.uint8)
        digest = hashlib.sha256()
        corrupt: dict[int, str] = {}
        for index, decoded in enumerate(_decode_all(files, folder, options)):
            line = f"{decoded.checksum}  {_name(files[index], folder)}\n"
            digest.update(line.encode(errors="surrogateescape"))
            if decoded.pixels_HW3 is None:
                corrupt[index] = decoded.reason
            else:
                images_NHW3[index] = decoded.pixels_HW3
            on_done(index + 1, len(files))
        _judge(list(corrupt.values()), len(files), options.max_corrupt)
        readable = np.setdiff1d(np.arange(len(files)), list(corrupt))
        if corrupt:
            images_NHW3 = images_NHW3[readable]
        grey = all(is_grey(image) for image in images_NHW3)
        return Loaded(
            images_NHWC=np.ascontiguousarray(images_NHW3[..., :1]) if grey else images_NHW3,
            labels_N=labels_N[readable].astype(np.int64),
            classes=tuple(c.name for c in classes),
            test_N=None,
            checksums={"folder": digest.hexdigest()},
            corrupt=tuple(sorted(_name(files[index], folder) for index in corrupt)),
        )


@dataclass(frozen=True)
class ImageClass:
    """One subfolder and the files below it, sorted."""

    name: str
    files: tuple[Path, ...]


def find_classes(folder: Path) -> list[ImageClass]:
    """The subfolders of `folder`, sorted by name, with their files.

    Raises:
        DataError: there is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder. data.path must name the folder that holds one subfolder "
            "of images for every class."
        )
    try:
        subfolders = sorted(
            entry.name
            for entry in os.scandir(folder)
            if entry.is_dir() and not entry.name.startswith(".")
        )
        return [ImageClass(name, _files_below(folder / name)) for name in subfolders]
    except OSError as error:
        raise DataError(f"{error.filename or folder} cannot be read ({error.strerror}).") from error


@dataclass(frozen=True)
class _Decoded:
    checksum: str
    pixels_HW3: npt.NDArray[np.uint8] | None
    reason: str = ""


def _decode_all(files: Sequence[Path], folder: Path, options: LoadOptions) -> Iterator[_Decoded]:
    """Decode in several threads (Pillow lets go of the interpreter), in the order of `files`."""

    def one(file: Path) -> _Decoded:
        checksum = "unreadable"
        try:
            content = read_image_file(file)
            checksum = hashlib.sha256(content).hexdigest()
            name = _name(file, folder)
            return _Decoded(checksum, decode(content, name, options.size, options.fit))
        except ImageError as error:
            return _Decoded(checksum, None, str(error))

    with ThreadPoolExecutor(_WORKERS) as workers:
        yield from workers.map(one, files)


def _judge(reasons: Sequence[str], files: int, most: int) -> None:
    if len(reasons) > most:
        listed = _some(reasons, "\n  ")
        raise DataError(
            f"{len(reasons)} of {files} images cannot be read, and data.max_corrupt allows "
            f"{most}:\n  {listed}\n"
            "Repair or remove them, or raise data.max_corrupt."
        )


def _files_below(folder: Path) -> tuple[Path, ...]:
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and name.lower() not in _NO_IMAGES
        ]
    return tuple(sorted(found, key=lambda file: file.relative_to(folder).as_posix()))


def _raise(error: OSError) -> None:
    raise error


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def _some(items: Sequence[str], between: str = ", ") -> str:
    more = len(items) - _MOST_NAMED
    shown = [*items[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])]
    return between.join(shown)
