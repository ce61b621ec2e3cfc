"""Directory walk over a folder of images, without opening files.

Every entry is checked, image or not, because DVC hashes all of them. Entries that DVC cannot hash
or track are errors: names that are not UTF-8, symlinks to directories, dangling symlinks, pipes
and sockets, unreadable files. Symlinks to files are followed, and so is a symlink to the dataset
folder itself.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.errors import DataError

LEFT_BEHIND = frozenset(
    {
        "__macosx",
        "@eadir",
        "@tmp",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
    }
)
"""Metadata entries of operating systems and NAS devices, besides hidden files; lower case."""

_MOST_NAMED = 10  # in a message

# Entries that DVC cannot hash or track: reason and fix, by kind.
_REFUSED = {
    "name": (
        "names that are not UTF-8, which DVC cannot record",
        "Rename them; for Latin-1 names: convmv -f latin1 -t utf8 -r --notest FOLDER.",
    ),
    "link": (
        "links to folders, in which DVC does not detect changes",
        "Replace each by a copy (cp -rL), or set data.path to a folder that holds the images "
        "themselves.",
    ),
    "nothing": ("dangling links", "Remove them, or restore their targets."),
    "special": ("entries that are neither files nor folders", "Move them out of the folder."),
    "closed": ("entries that this user cannot read", "Run as their owner: chmod -R u+rX FOLDER."),
    "dvcignore": ("files that DVC refuses inside data", "Move them out of the folder."),
}


@dataclass(eq=False)
class Folder:
    """A folder in the dataset.

    Attributes:
        name: path relative to the dataset folder; empty for that folder itself.
        folders: its subfolders.
        files: paths relative to the dataset folder.
    """

    name: str
    folders: list[Folder] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def last(self) -> str:
        """The last component of the path."""
        return self.name.rpartition("/")[2]

    def all_files(self) -> tuple[str, ...]:
        """All files below it, sorted."""
        found, pending = [], [self]
        while pending:
            folder = pending.pop()
            found += folder.files
            pending += folder.folders
        return tuple(sorted(found))


def require_folder(folder: Path) -> None:
    """Check that `folder` is a readable folder.

    Raises:
        DataError: it is not.
    """
    wanted = "data.path must name the folder that holds one subfolder of images for every class."
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        link = " is a dangling link" if folder.is_symlink() else ": no such folder"
        raise DataError(f"{escape_name(str(folder))}{link}. {wanted}") from None
    except OSError as error:  # name too long, parent not accessible
        raise DataError(
            f"{escape_name(str(folder))} cannot be read ({error.strerror}). {wanted}"
        ) from error
    if not stat.S_ISDIR(mode):
        raise DataError(f"{escape_name(str(folder))} is a file, not a folder. {wanted}")


def escape_name(name: str) -> str:
    """Escape control characters and non-UTF-8 bytes of a file name for a message."""
    return "".join(map(_escape, name))


def pluralise(count: int, noun: str) -> str:
    """Count and noun, with a plural s where needed."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # surrogate escape of a non-UTF-8 byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character if character.isprintable() else ascii(character)[1:-1]


def join_first(items: Sequence[str], between: str = ", ") -> str:
    """Join the first items and append the number of the others."""
    more = len(items) - _MOST_NAMED
    shown = [escape_name(item) for item in items[:_MOST_NAMED]]
    return between.join([*shown, *([f"and {more} more"] if more > 0 else [])])


class Walk:
    """Recursive walk over a folder.

    Args:
        folder: the dataset folder.

    Attributes:
        skipped: number of ignored files, by the name that caused it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.skipped = folder, Counter[str]()
        self._refused: dict[str, list[str]] = {kind: [] for kind in _REFUSED}

    def read(self) -> Folder:
        """Build the tree of the entries that are not ignored."""
        root = Folder("")
        pending: list[tuple[Folder, str | None]] = [(root, None)]
        while pending:
            folder, why = pending.pop()
            for entry in self._entries(folder, why):
                name = f"{folder.name}/{entry.name}" if folder.name else entry.name
                skip = why or _why_skipped(entry.name)
                kind = self._kind(entry, name, skip)
                if kind == "folder":
                    inside = Folder(name)
                    pending.append((inside, skip))
                    if skip is None:
                        folder.folders.append(inside)
                elif kind == "file" and skip is not None:
                    self.skipped[skip] += 1
                elif kind == "file":
                    folder.files.append(name)
        return root

    def refuse(self) -> None:
        """Raise an error for entries that DVC cannot hash or track.

        Raises:
            DataError: names, reason and fix, by kind.
        """
        problems = [
            f"{escape_name(str(self.folder))} holds {reason}: {join_first(sorted(names))}. {fix}"
            for kind, (reason, fix) in _REFUSED.items()
            if (names := self._refused[kind])
        ]
        if problems:
            raise DataError("\n".join(problems))

    def _entries(self, folder: Folder, why: str | None) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.folder / folder.name) as entries:
                return list(entries)
        except OSError as error:
            if why is None:  # DVC skips folders it cannot enter, such as lost+found
                self._refused["closed"].append(f"{folder.name or '.'} ({error.strerror})")
            return []

    def _kind(self, entry: os.DirEntry[str], name: str, skip: str | None) -> str:
        """`file`, `folder`, `skipped` or `refused`; links are followed, refused names recorded."""
        if not _is_utf8(entry.name):
            return self._refuse("name", name)
        if entry.name == ".dvcignore":
            return self._refuse("dvcignore", name)
        if entry.is_dir(follow_symlinks=False):
            return "folder"
        if entry.is_symlink():
            target = f"{name} -> {Path(entry).readlink()}"
            try:
                mode = Path(entry).stat().st_mode
            except OSError:  # also a symlink loop
                return self._refuse("nothing", target)
            if stat.S_ISDIR(mode):
                return "skipped" if skip else self._refuse("link", target)
            regular = stat.S_ISREG(mode)
        else:
            regular = entry.is_file(follow_symlinks=False)
        if not regular:
            return self._refuse("special", name)
        if not os.access(entry.path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            return self._refuse("closed", name)
        return "file"

    def _refuse(self, kind: str, name: str) -> str:
        self._refused[kind].append(name)
        return "refused"


def _why_skipped(name: str) -> str | None:
    if name.startswith("._"):
        return "._*"
    return name if name.startswith(".") or name.lower() in LEFT_BEHIND else None


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
