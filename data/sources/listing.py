"""A list of image files and their classes: CSV, TSV, JSON or JSON Lines, in the folder of images.

Or one list per split (`train.csv`, `val.csv`, `test.csv`; or `train/metadata.csv`,
`test/metadata.csv`, as in Hugging Face's ImageFolder). Paths are relative to the folder of their
list and must not leave `data.path`, where changes would not be noticed.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from core.errors import UserError
from data.image_tree import ROLES
from data.image_walk import escape_name, join_first, pluralise, walk
from data.sources.base import Layout
from data.sources.catalogue import Catalogue, CatalogueSource, index_classes, split_names
from data.sources.folder import read_files

LISTS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
_METADATA = "metadata"
Row = Mapping[str, Any]


@dataclass
class _Images:
    """The rows of all lists: one value per image."""

    files: list[str] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    splits: list[Any] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    repeated: int = 0


class ImageList(CatalogueSource):
    """Images that a list in their folder describes."""

    name = "list"
    wanted = "the folder that holds a CSV or JSON list of images, and the images"

    def catalogue(self, folder: Path, layout: Layout) -> Catalogue:
        """List the images in the order of the lists' rows."""
        root, skipped = walk(folder)
        shown = escape_name(str(folder))
        files = set(root.all_files())
        lists = _find_lists(shown, sorted(files), layout.table.file)
        found = _Images()
        for name, split in lists.items():
            _read_list(folder, name, split, layout, found)
        _require_files(shown, found.files, files)
        classes, labels_N = index_classes(found.labels)
        given = any(split is not None for split in found.splits)
        unlisted = len(files) - len(found.files) - len(lists)
        notes = (
            [f"not in the list, and ignored: {pluralise(unlisted, 'file')}."] if unlisted else []
        )
        if found.repeated:
            notes.append(f"listed repeatedly, and used once: {pluralise(found.repeated, 'row')}.")
        return Catalogue(
            names=found.files,
            labels_N=labels_N,
            classes=classes,
            read=partial(read_files, folder, found.files),
            splits_N=split_names(found.splits, shown) if given else None,
            groups=found.groups,
            skipped=dict(sorted(skipped.items())),
            notes=tuple(notes),
        )


def _find_lists(shown: str, files: Sequence[str], wanted: str | None) -> dict[str, str | None]:
    """The lists to read, with the split that their name or folder gives."""
    if wanted is not None:
        if wanted not in files:
            raise UserError(f"{shown} has no file {wanted}: set data.table.file to the list.")
        return {wanted: None}
    lists = [PurePosixPath(name) for name in files if PurePosixPath(name).suffix.lower() in LISTS]
    top = [path for path in lists if len(path.parts) == 1]
    by_folder = [p for p in lists if p.stem == _METADATA and p.parent.name.lower() in ROLES]
    by_name = [path for path in top if path.stem.lower() in ROLES]
    if by_name and len(by_name) == len(top):
        return {str(path): path.stem for path in by_name}
    if not top and by_folder:
        return {str(path): path.parent.name for path in by_folder}
    if len(top) == 1:
        return {str(top[0]): None}
    if not top:
        raise UserError(
            f"{shown} has no list of images: a .csv, .tsv, .json or .jsonl file with a column of "
            "paths and one of labels. If subfolders are the classes, set data.source to folder."
        )
    raise UserError(
        f"{shown} has several lists: {join_first([str(path) for path in top])}. Set "
        "data.table.file to the right one, or name them train, val and test to use all."
    )


def _read_list(folder: Path, name: str, split: str | None, layout: Layout, out: _Images) -> None:
    """Append the rows of one list."""
    shown, table = escape_name(name), layout.table
    rows = _rows(folder / name, shown)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if not rows:
        raise UserError(f"{shown} lists no images.")
    image = table.find("image", columns, shown, needed=True)
    label = table.find("label", columns, shown, needed=True)
    part = None if split else table.find("split", columns, shown, needed=False)
    group = table.find("group", columns, shown, needed=False)
    known = dict(zip(out.files, zip(out.labels, out.splits, strict=True), strict=True))
    for number, row in enumerate(rows, 1):
        file = _inside(folder, name, row.get(image or ""), f"{shown}, image {number}")
        value = row.get(label or "")
        role = split if part is None else row.get(part) or "(none)"
        if file in known:
            _require_equal(known[file], (value, role), f"{shown}, image {number}", file)
            out.repeated += 1
            continue
        known[file] = value, role
        out.files.append(file)
        out.labels.append(value)
        out.splits.append(role)
        if group is not None:
            if row.get(group) in (None, ""):
                raise UserError(f"{shown}, image {number} has no {group}. Add it to every row.")
            out.groups.append(str(row[group]))
    if out.groups and len(out.groups) != len(out.files):
        raise UserError(f"{shown}: some lists have a column of groups and some have none. Add it.")


def _require_equal(known: tuple[Any, Any], row: tuple[Any, Any], where: str, file: str) -> None:
    """Check that a repeated image has the same label and split."""
    for what, one, other in zip(("labels", "splits"), known, row, strict=True):
        if one != other:
            raise UserError(
                f"{where}: {escape_name(file)} is listed with the {what} {one!r} and {other!r}. "
                "Keep one row."
            )


def _rows(file: Path, shown: str) -> list[Row]:
    """The rows of a list."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{shown} is not UTF-8 text ({error}). Save it as UTF-8.") from None
    try:
        if file.suffix.lower() in (".csv", ".tsv"):
            return _csv_rows(text, "\t" if file.suffix.lower() == ".tsv" else None)
        if file.suffix.lower() == ".json":
            rows = _json_rows(json.loads(text))
        else:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (csv.Error, json.JSONDecodeError) as error:
        raise UserError(f"{shown} cannot be read: {error}. Correct it.") from error
    wrong = [str(number) for number, row in enumerate(rows, 1) if not isinstance(row, dict)]
    if wrong:
        raise UserError(
            f"{shown}: an image must be an object such as "
            f'{{"path": "a.png", "label": "cat"}}; these are not: {join_first(wrong)}.'
        )
    return rows


def _csv_rows(text: str, separator: str | None) -> list[Row]:
    header = text.partition("\n")[0]
    separator = separator or max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows = list[Row]()
    for row in reader:
        if None in row or None in row.values():
            raise csv.Error(f"line {reader.line_num} has not the header's number of columns")
        rows.append(row)
    return rows


def _json_rows(content: Any) -> list[Any]:
    """The images of a JSON document: a list of objects, or labels by path."""
    if isinstance(content, dict) and not any(isinstance(v, list | dict) for v in content.values()):
        return [{"path": path, "label": label} for path, label in content.items()]
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else content
    if not isinstance(content, list):
        raise csv.Error("it holds neither a list of images nor labels by path")
    return content


def _inside(folder: Path, name: str, path: Any, where: str) -> str:
    """An image's path relative to the data set's folder."""
    if not isinstance(path, str) or not path.strip():
        raise UserError(f"{where} has no path. Add it, or remove the row.")
    path = path.strip()
    root = folder.resolve().as_posix()
    whole = posixpath.join(root, posixpath.dirname(name), path)
    inside = posixpath.relpath(posixpath.normpath(whole), root)
    if inside == ".." or inside.startswith("../"):
        raise UserError(
            f"{where}: {escape_name(path)} lies outside {escape_name(str(folder))}, where changes "
            "would not be noticed. Move the images into that folder, or set data.path to the "
            "folder that holds both and data.table.file to the list."
        )
    return inside


def _require_files(shown: str, listed: Sequence[str], files: set[str]) -> None:
    missing = [name for name in listed if name not in files]
    if missing:
        kinds = Counter("\\" in name for name in missing)
        hint = " Write / instead of \\ in paths." if kinds[True] else ""
        raise UserError(
            f"{shown}: {len(missing)} of {len(listed)} listed images do not exist: "
            f"{join_first(missing)}. Paths are relative to the list's folder.{hint} Correct the "
            "list, or remove these rows."
        )
