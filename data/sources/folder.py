"""A folder of the user's images: one subfolder per class.

Or one folder per split (train, val, test) with one subfolder per class: these splits are used, and
a missing one is drawn from train. Every file below a class folder, at any depth, is an image of
the class, except hidden files and operating system metadata (`LEFT_BEHIND`). Files outside the
class folders are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from core.errors import UserError
from data.image_tree import ImageTree, read_tree
from data.image_walk import escape_name
from data.images import read_image_file
from data.sources.base import Layout
from data.sources.catalogue import Catalogue, CatalogueSource


class ImageFolder(CatalogueSource):
    """A folder of images, with its predefined splits if it has some."""

    name = "folder"
    wanted = "the folder that holds one subfolder of images for every class"

    def catalogue(self, folder: Path, layout: Layout) -> Catalogue:
        """List the files in the order of splits, class names and file names."""
        tree = read_tree(folder)
        _require_classes(folder, tree)
        files = [file for c in tree.classes for file in c.files]
        counts = [len(c.files) for c in tree.classes]
        splits = [c.split or "" for c in tree.classes]
        return Catalogue(
            names=files,
            labels_N=np.repeat([tree.names.index(c.name) for c in tree.classes], counts),
            classes=tree.names,
            read=partial(read_files, folder, files),
            splits_N=np.repeat(splits, counts) if tree.given else None,
            skipped=tree.skipped,
            notes=tree.notes,
        )


def read_files(
    folder: Path, files: Sequence[str], indices: Sequence[int]
) -> Iterator[Callable[[], bytes]]:
    """A `Reader` of files in a folder."""
    return (partial(read_image_file, folder / files[index]) for index in indices)


def _require_classes(folder: Path, tree: ImageTree) -> None:
    """Check that there are at least two class folders."""
    shown = escape_name(str(folder))
    if not tree.classes:
        raise UserError(
            f"{shown} has no subfolders; put the images of each class in one subfolder, or set "
            "data.source to list, parquet or webdataset if they are described by a file."
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
