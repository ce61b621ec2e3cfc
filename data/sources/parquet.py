"""Parquet files with one image a row, as Hugging Face's `datasets` writes them.

The image column holds encoded files: binary, or a struct with `bytes` and `path`. Names of classes
are those in the files' own description (`ClassLabel`), if there is one. Splits are a column, or the
files' names (`train-00000-of-00002.parquet`, or `train/0000.parquet`), if all of them name one.
Images are read in batches, in the files' order. Needs pyarrow: `pip install 'netwright[parquet]'`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import UserError
from data.image_walk import escape_name, join_first, walk
from data.images import ImageError
from data.sources.base import Layout
from data.sources.catalogue import (
    Catalogue,
    CatalogueSource,
    index_classes,
    split_names,
    split_of_file,
)

_BATCH = 64  # rows of images in memory


@dataclass
class _Rows:
    """One value per image of all files."""

    names: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    splits: list[Any] = field(default_factory=list)
    groups: list[Any] = field(default_factory=list)
    classes: tuple[str, ...] | None = None
    """The names of the labels 0, 1, ...; None: labels are names."""
    starts: list[int] = field(default_factory=list)
    """Index of every file's first image."""
    image: str = ""


class Parquet(CatalogueSource):
    """Images in Parquet files."""

    name = "parquet"
    wanted = "the folder that holds the .parquet files"

    def catalogue(self, folder: Path, layout: Layout) -> Catalogue:
        """List the rows in the order of the files' names, without reading images."""
        _require_pyarrow()
        root, skipped = walk(folder)
        shown = escape_name(str(folder))
        files = [file for file in root.all_files() if file.lower().endswith(".parquet")]
        if not files:
            raise UserError(
                f"{shown} has no .parquet files: set data.path to the folder with them."
            )
        rows = _Rows()
        for file in files:
            _list_rows(folder, file, layout, rows)
        classes, labels_N = _classes(rows)
        return Catalogue(
            names=rows.names,
            paths=rows.paths,
            labels_N=labels_N,
            classes=classes,
            read=partial(_read, folder, files, rows),
            splits_N=split_names(rows.splits, shown) if any(rows.splits) else None,
            groups=[str(group) for group in rows.groups],
            skipped=dict(sorted(skipped.items())),
        )


def _require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise UserError(
            "data.source 'parquet' needs pyarrow: pip install 'netwright[parquet]' -c "
            "constraints.txt."
        ) from None


def _open(folder: Path, name: str) -> Any:
    """The Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(folder / name)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{escape_name(name)} is no readable Parquet file ({error}).") from error


def _list_rows(folder: Path, name: str, layout: Layout, out: _Rows) -> None:
    """Append the rows of one file."""
    shown, table = escape_name(name), layout.table
    with _open(folder, name) as file:
        schema, count = file.schema_arrow, file.metadata.num_rows
        image = table.find("image", schema.names, shown, needed=True) or ""
        label = table.find("label", schema.names, shown, needed=True) or ""
        split = table.find("split", schema.names, shown, needed=False)
        group = table.find("group", schema.names, shown, needed=False)
        paths = _require_images(schema.field(image).type, image, shown)
        wanted = [label, *([split] if split else []), *([group] if group else [])]
        columns = file.read(columns=[*wanted, *([f"{image}.path"] if paths else [])])
    out.starts.append(len(out.names))
    known = columns.column(image).to_pylist() if paths else [None] * count
    for row, entry in enumerate(known):
        path = entry.get("path") if isinstance(entry, dict) else None
        out.names.append(f"{name}/{row}")
        out.paths.append(path or "")
    classes = _class_names(schema, label)
    if out.starts != [0] and (classes, image) != (out.classes, out.image):
        raise UserError(f"{shown} has other columns or class names than the files before it.")
    out.classes, out.image = classes, image
    out.labels += columns.column(label).to_pylist()
    out.splits += columns.column(split).to_pylist() if split else [split_of_file(name)] * count
    out.groups += columns.column(group).to_pylist() if group else []
    if out.groups and (len(out.groups) != len(out.names) or None in out.groups):
        raise UserError(f"{shown} has images without a group. Add it to every row of every file.")


def _require_images(kind: Any, column: str, shown: str) -> bool:
    """Check that a column holds encoded images; returns whether it has their paths, too."""
    import pyarrow as pa

    def is_bytes(value: Any) -> bool:
        return bool(pa.types.is_binary(value) or pa.types.is_large_binary(value))

    if is_bytes(kind):
        return False
    is_image = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    if is_image and is_bytes(kind.field("bytes").type):
        return bool(kind.get_field_index("path") >= 0)
    raise UserError(
        f"{shown}: the column {column} is {kind}, and images must be encoded files: binary, or a "
        "struct with bytes. Set data.table.image to another column; for paths, write a CSV and set "
        "data.source to list."
    )


def _class_names(schema: Any, label: str) -> tuple[str, ...] | None:
    """The names in Hugging Face's description of a label column."""
    described = (schema.metadata or {}).get(b"huggingface")
    if described is None:
        return None
    feature = json.loads(described).get("info", {}).get("features", {}).get(label, {})
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(map(str, names)) if names else None


def _classes(rows: _Rows) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """The classes that occur, in the order of the labels, and the index per image."""
    if rows.classes is None:
        return index_classes(rows.labels)
    wrong = [
        f"{label!r} (image {number})"
        for number, label in enumerate(rows.labels, 1)
        if not (isinstance(label, int) and 0 <= label < len(rows.classes))
    ]
    if wrong:
        raise UserError(
            f"labels must be 0 to {len(rows.classes) - 1}, as the files describe: "
            f"{join_first(wrong)}. Remove these rows; Hugging Face marks unlabelled splits so."
        )
    used, labels_N = np.unique(np.array(rows.labels, np.int64), return_inverse=True)
    return tuple(rows.classes[label] for label in used.tolist()), labels_N.astype(np.int64)


def _read(
    folder: Path, files: Sequence[str], rows: _Rows, indices: Sequence[int]
) -> Iterator[Callable[[], bytes]]:
    """Read the images of sorted indices, batch by batch."""
    wanted = iter(indices)
    next_index = next(wanted, None)
    for name, start in zip(files, rows.starts, strict=True):
        index = start
        with _open(folder, name) as file:
            for batch in file.iter_batches(_BATCH, columns=[rows.image]):
                column = batch.column(0)
                while next_index is not None and next_index < index + len(column):
                    yield partial(_content, column[next_index - index].as_py(), rows, next_index)
                    next_index = next(wanted, None)
                index += len(column)
                if next_index is None:
                    return


def _content(entry: Any, rows: _Rows, index: int) -> bytes:
    content = entry.get("bytes") if isinstance(entry, dict) else entry
    if not isinstance(content, bytes):
        raise ImageError(
            f"{escape_name(rows.names[index])} holds no image, only a path or nothing: write the "
            "file with embedded images (`datasets` embeds local files only when it uploads them)."
        )
    return content
