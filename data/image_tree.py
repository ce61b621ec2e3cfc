"""Classes and predefined splits in a folder of images."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from data.dataset import SPLITS, SplitName
from data.image_walk import Folder, escape_name, join_first, pluralise, walk

ROLES: Mapping[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Split by folder name, case-insensitive."""


@dataclass(frozen=True)
class ClassFolder:
    """The images of one class in one split (None: the folder has no splits).

    Files are sorted paths relative to the dataset folder.
    """

    name: str
    split: SplitName | None
    files: tuple[str, ...]


@dataclass(frozen=True)
class ImageTree:
    """The classes of a folder, sorted by split, then by name, and notes for the user."""

    classes: tuple[ClassFolder, ...]
    given: tuple[SplitName, ...]
    """The predefined splits; empty: none."""
    skipped: Mapping[str, int]
    """Number of ignored files, by the name that caused it."""
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, sorted."""
        return tuple(sorted({c.name for c in self.classes}))


def read_tree(folder: Path) -> ImageTree:
    """Find the classes in `folder`, without opening a file.

    Raises:
        UserError: the folder does not exist, has entries that DVC cannot track, or its splits
            are inconsistent. The message has the names and the fix.
    """
    root, skipped = walk(folder)
    given = _given_splits(folder, root)
    if given:
        classes = tuple(
            ClassFolder(c.last, split, c.all_files())
            for split, part in given.items()
            for c in _by_name(part.folders)
        )
        _require_equal_classes(folder, given, classes)
    else:
        classes = tuple(ClassFolder(c.name, None, c.all_files()) for c in _by_name(root.folders))
    beside = len(root.files) + sum(len(part.files) for part in given.values())
    notes = [*_notes(given, skipped, beside), *_look_alikes(c.name for c in classes)]
    named = [f.name for f in _by_name(root.folders) if f.name.lower() in ROLES]
    if not given and len(named) > 1:
        notes.append(f"{join_first(named)} are classes, not splits: no shared class folders.")
    return ImageTree(classes, tuple(given), dict(sorted(skipped.items())), tuple(notes))


def _by_name(folders: Iterable[Folder]) -> list[Folder]:
    return sorted(folders, key=lambda folder: folder.name)


def _given_splits(folder: Path, root: Folder) -> dict[SplitName, Folder]:
    """The folder of each predefined split; empty where folders with split names are classes.

    Folders with split names are splits if there are at least two, and either they share class
    folder names or there are no other folders.
    """
    named = [f for f in _by_name(root.folders) if f.name.lower() in ROLES]
    others = [f.name for f in _by_name(root.folders) if f not in named]
    nested = [f for f in named if f.folders]
    inside = Counter(c.last for f in nested for c in f.folders)
    alike = any(count > 1 for count in inside.values())
    if len(named) < 2 or (others and not alike):
        return {}
    where = f"{escape_name(str(folder))}: {join_first([f.name for f in named])}"
    if not nested:
        raise UserError(
            f"{where} have split names, but hold no class folders. Put the images of each "
            "class in one folder per split; if these are classes, rename them."
        )
    if others:
        raise UserError(
            f"{where} look like splits, but {join_first(others)} does not. Move it out of the "
            "folder; if all of them are classes, rename those with split names."
        )
    bare = [f.name for f in named if not f.folders]
    if bare:
        raise UserError(
            f"{where} are splits, but there are no class folders in {join_first(bare)}. Sort its "
            "images into class folders, or move it out of the folder."
        )
    return _by_split(where, named)


def _by_split(where: str, named: Sequence[Folder]) -> dict[SplitName, Folder]:
    """The folder of each split, in the order train, val, test."""
    found = {s: [f for f in named if ROLES[f.name.lower()] == s] for s in SPLITS}
    for same in found.values():
        if len(same) > 1:
            raise UserError(
                f"{where}: {join_first([f.name for f in same])} are the same split. Keep one."
            )
    if not found["train"]:
        raise UserError(f"{where} are splits, but there is none called train. Add it.")
    return {split: same[0] for split, same in found.items() if same}


def _require_equal_classes(
    folder: Path, given: Mapping[SplitName, Folder], classes: Sequence[ClassFolder]
) -> None:
    """Raise an error if a class has no images in one of the predefined splits."""
    filled = {(c.split, c.name) for c in classes if c.files}
    missing = [
        f"'{escape_name(name)}' in {escape_name(part.name)}"
        for name in sorted({c.name for c in classes})
        for split, part in given.items()
        if (split, name) not in filled
    ]
    if missing:
        raise UserError(
            f"{escape_name(str(folder))}: every class needs images in every split; there are none "
            f"of {join_first(missing)}. Add some, or remove the class from the other splits."
        )


def _notes(given: Mapping[SplitName, Folder], skipped: Counter[str], beside: int) -> list[str]:
    notes = []
    if given:
        drawn = [split for split in SPLITS if split not in given]
        rest = f"; {' and '.join(drawn)} drawn from train" if drawn else ""
        used = ", ".join(
            escape_name(part.name) + ("" if part.name == split else f" as {split}")
            for split, part in given.items()
        )
        notes.append(f"the folder's own splits are used: {used}{rest}.")
    if skipped:
        kinds = [f"{name} ({count})" for name, count in sorted(skipped.items())]
        notes.append(
            f"ignored hidden files and operating system or NAS metadata: {join_first(kinds)}."
        )
    if beside:
        notes.append(f"ignored outside the class folders: {pluralise(beside, 'file')}.")
    return notes


def _look_alikes(names: Iterable[str]) -> list[str]:
    """Report classes that differ only by case, outer spaces or Unicode normalisation."""
    groups: dict[str, set[str]] = {}
    for name in names:
        plain = unicodedata.normalize("NFC", name).casefold().strip()
        groups.setdefault(plain, set()).add(name)
    return [
        f"classes {', '.join(ascii(name) for name in sorted(group))} differ only by case, spaces "
        "or Unicode normalisation. If they are one class, put their images in one folder."
        for _, group in sorted(groups.items())
        if len(group) > 1
    ]
