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

from core.errors import UserError

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
    """A folder in the dataset; names and files are paths relative to the dataset folder."""

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


def escape_name(name: str) -> str:
    """Escape control characters and non-UTF-8 bytes of a file name for a message."""
    return "".join(map(_escape, name))


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # surrogate escape of a non-UTF-8 byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character if character.isprintable() else ascii(character)[1:-1]


def pluralise(count: int, noun: str) -> str:
    """Count and noun, with a plural s where needed."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def join_first(items: Sequence[str], between: str = ", ") -> str:
    """Join the first items and append the number of the others."""
    more = len(items) - _MOST_NAMED
    shown = [escape_name(item) for item in items[:_MOST_NAMED]]
    return between.join([*shown, *([f"and {more} more"] if more > 0 else [])])


def walk(folder: Path) -> tuple[Folder, Counter[str]]:
    """The tree of the entries that are not ignored; ignored files by the name that caused it.

    Raises:
        UserError: it is no readable folder, or has entries that DVC cannot hash or track; with
            names, reason and fix.
    """
    _require_folder(folder)
    root, skipped = Folder(""), Counter[str]()
    refused: dict[str, list[str]] = {kind: [] for kind in _REFUSED}
    pending: list[tuple[Folder, str | None]] = [(root, None)]
    while pending:
        parent, why = pending.pop()
        try:
            entries = [*os.scandir(folder / parent.name)]
        except OSError as error:
            entries = []
            if why is None:  # DVC skips folders it cannot enter, such as lost+found
                refused["closed"].append(f"{parent.name or '.'} ({error.strerror})")
        for entry in entries:
            name = f"{parent.name}/{entry.name}" if parent.name else entry.name
            skip = why or _why_skipped(entry.name)
            kind = _kind(entry)
            if kind == "folder":
                pending.append((Folder(name), skip))
                if skip is None:
                    parent.folders.append(pending[-1][0])
            elif kind == "file" and skip is not None:
                skipped[skip] += 1
            elif kind == "file":
                parent.files.append(name)
            elif not (kind == "link" and skip):
                links = kind in ("link", "nothing")
                refused[kind].append(f"{name} -> {Path(entry).readlink()}" if links else name)
    if any(refused.values()):
        where = escape_name(str(folder))
        raise UserError(
            "\n".join(
                f"{where} holds {reason}: {join_first(sorted(refused[kind]))}. {fix}"
                for kind, (reason, fix) in _REFUSED.items()
                if refused[kind]
            )
        )
    return root, skipped


def _require_folder(folder: Path) -> None:
    wanted = "data.path must name the folder that holds the images."
    shown = escape_name(str(folder))
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        link = " is a dangling link" if folder.is_symlink() else ": no such folder"
        raise UserError(f"{shown}{link}. {wanted}") from None
    except OSError as error:  # name too long, parent not accessible
        raise UserError(f"{shown} cannot be read ({error.strerror}). {wanted}") from error
    if not stat.S_ISDIR(mode):
        raise UserError(f"{shown} is a file, not a folder. {wanted}")


def _kind(entry: os.DirEntry[str]) -> str:
    """`file`, `folder` or a kind of `_REFUSED`; links are followed."""
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        return "name"
    if entry.name == ".dvcignore":
        return "dvcignore"
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    try:
        mode = Path(entry).stat().st_mode
    except OSError:  # also a symlink loop
        return "nothing" if entry.is_symlink() else "closed"
    if stat.S_ISDIR(mode):
        return "link"
    if not stat.S_ISREG(mode):
        return "special"
    readable = os.access(entry.path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)
    return "file" if readable else "closed"


def _why_skipped(name: str) -> str | None:
    if name.startswith("._"):
        return "._*"
    return name if name.startswith(".") or name.lower() in LEFT_BEHIND else None
