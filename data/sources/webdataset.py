"""WebDataset: tar archives whose members are samples, `KEY.jpg` beside `KEY.cls` or `KEY.json`.

Archives are read in place and never extracted; a member's name is a name, never a path. A sample's
key is its name up to the first dot after the last slash, as in the webdataset library. The label
is the text of `.cls` or `.txt`, or the entry of `.json` that `data.table.label` names. The names of
archives give the splits (`train-000.tar`, or `train/000.tar`), if all of them name one.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from core.errors import UserError
from data.image_walk import escape_name, join_first, pluralise, walk
from data.images import ImageError
from data.sources.base import Layout
from data.sources.catalogue import (
    Catalogue,
    CatalogueSource,
    index_classes,
    split_names,
    split_of_file,
)

IMAGES = ("bmp", "gif", "jpeg", "jpg", "png", "ppm", "tif", "tiff", "webp")
LABELS = ("cls", "txt")
_PACKED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_LARGEST_TEXT = 1 << 20  # bytes of a label or of a sample's JSON


@dataclass
class _Sample:
    """Where the parts of a sample are: (offset, bytes) in its archive."""

    archive: str
    key: str
    image: tuple[int, int] | None = None
    texts: dict[str, bytes] = field(default_factory=dict)


class WebDataset(CatalogueSource):
    """Images in tar archives."""

    name = "webdataset"
    wanted = "the folder that holds the .tar archives"

    def catalogue(self, folder: Path, layout: Layout) -> Catalogue:
        """List the samples in the order of the archives and of their members."""
        root, skipped = walk(folder)
        files, shown = root.all_files(), escape_name(str(folder))
        archives = [file for file in files if file.lower().endswith(".tar")]
        _require_archives(shown, files, archives)
        ignored = Counter[str]()
        found = [s for name in archives for s in _read_archive(folder, name, ignored)]
        samples = [sample for sample in found if sample.image is not None]
        if not samples:
            raise UserError(f"{shown}: the archives hold no images ({', '.join(IMAGES)}).")
        rows = [_described(sample) for sample in samples]
        labels = [_label(row, sample, layout) for row, sample in zip(rows, samples, strict=True)]
        classes, labels_N = index_classes(labels)
        of_files = [split_of_file(sample.archive) for sample in samples]
        notes = []
        if ignored:
            kinds = [f"{kind} ({count})" for kind, count in sorted(ignored.items())]
            notes.append(f"ignored in the archives: {join_first(kinds)}.")
        if len(found) > len(samples):
            without = pluralise(len(found) - len(samples), "sample")
            notes.append(f"ignored, because they have no image: {without}.")
        return Catalogue(
            names=[f"{sample.archive}/{sample.key}" for sample in samples],
            paths=[sample.key for sample in samples],
            labels_N=labels_N,
            classes=classes,
            read=partial(_read, folder, samples),
            splits_N=split_names(of_files, shown) if any(of_files) else None,
            groups=_groups(rows, samples, layout),
            skipped=dict(sorted(skipped.items())),
            notes=tuple(notes),
        )


def _require_archives(shown: str, files: Sequence[str], archives: Sequence[str]) -> None:
    packed = [file for file in files if file.lower().endswith(_PACKED)]
    if packed:
        raise UserError(
            f"{shown} has compressed archives: {join_first(packed)}. Decompress them (gunzip, "
            "unzstd, bunzip2, unxz): images are read from the middle of an archive."
        )
    if not archives:
        raise UserError(f"{shown} has no .tar archives: set data.path to the folder with them.")


def _read_archive(folder: Path, name: str, ignored: Counter[str]) -> list[_Sample]:
    """Find the samples of one archive, without reading its images."""
    samples: dict[str, _Sample] = {}
    path, shown = folder / name, escape_name(name)
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:", errorlevel=1) as archive:
            for member in archive:
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    ignored["links and special files"] += 1
                    continue
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError("unexpected end of data")
                _add_member(archive, member, name, samples, ignored)
                archive.members = []  # type: ignore[attr-defined]  # else it keeps them all
            _require_end(path, archive.offset)
    except tarfile.TarError as error:
        raise UserError(f"{shown} is damaged ({error}). Copy it again.") from error
    return list(samples.values())


def _require_end(path: Path, offset: int) -> None:
    """Check that reading ended at the archive's end: `tarfile` stops at a damaged header, too."""
    with path.open("rb") as file:
        if os.pread(file.fileno(), tarfile.BLOCKSIZE, offset) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("unexpected end of data")


def _add_member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    name: str,
    samples: dict[str, _Sample],
    ignored: Counter[str],
) -> None:
    """Add one member to its sample."""
    stem, slash, base = member.name.rpartition("/")
    first, _, extension = base.partition(".")
    extension, key = extension.lower(), f"{stem}{slash}{first}"
    if not first or extension not in (*IMAGES, *LABELS, "json"):
        ignored[f".{extension}" if first and extension else "hidden files"] += 1
        return
    sample = samples.setdefault(key, _Sample(name, key))
    where = f"{escape_name(name)}: sample {escape_name(key)}"
    if extension not in IMAGES:
        if member.size > _LARGEST_TEXT:
            raise UserError(f"{where}: .{extension} of {member.size} bytes is no label.")
        content = archive.extractfile(member)
        sample.texts[extension] = b"" if content is None else content.read()
    elif sample.image is not None:
        raise UserError(f"{where} has two images. Keep one of them, or give it its own key.")
    else:
        sample.image = (member.offset_data, member.size)


def _described(sample: _Sample) -> Mapping[str, Any]:
    """The JSON of a sample; empty without."""
    if "json" not in sample.texts:
        return {}
    try:
        row = json.loads(sample.texts["json"])
    except ValueError as error:
        raise UserError(f"{_where(sample)}: its .json cannot be read ({error}).") from error
    if not isinstance(row, dict):
        raise UserError(f"{_where(sample)}: its .json is not an object with a label.")
    return row


def _label(row: Mapping[str, Any], sample: _Sample, layout: Layout) -> Any:
    """The label of a sample."""
    if layout.table.label is None:
        for extension in LABELS:
            if extension in sample.texts:
                return sample.texts[extension].decode("utf-8", "backslashreplace").strip()
    if not row:
        raise UserError(
            f"{_where(sample)} has no label: add {sample.key}.cls with its class, or a .json with "
            "the entry that data.table.label names."
        )
    return row[layout.table.find("label", list(row), _where(sample), needed=True) or ""]


def _groups(
    rows: Sequence[Mapping[str, Any]], samples: Sequence[_Sample], layout: Layout
) -> list[str]:
    """The group per sample; empty if no sample has one."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    column = layout.table.find("group", columns, _where(samples[0]), needed=False)
    if column is None:
        return []
    pairs = zip(rows, samples, strict=True)
    without = [sample for row, sample in pairs if row.get(column) in (None, "")]
    if without:
        raise UserError(f"{_where(without[0])} has no {column}. Add it to every sample.")
    return [str(row[column]) for row in rows]


def _where(sample: _Sample) -> str:
    return f"{escape_name(sample.archive)}: sample {escape_name(sample.key)}"


def _read(
    folder: Path, samples: Sequence[_Sample], indices: Sequence[int]
) -> Iterator[Callable[[], bytes]]:
    return (partial(_read_image, folder, samples[index]) for index in indices)


def _read_image(folder: Path, sample: _Sample) -> bytes:
    offset, size = sample.image or (0, 0)
    try:
        with (folder / sample.archive).open("rb") as file:
            content = os.pread(file.fileno(), size, offset)
    except OSError as error:
        raise ImageError(f"{_where(sample)} cannot be read ({error.strerror}).") from error
    return content
