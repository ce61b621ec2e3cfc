"""Everything below a folder of images, before a file is opened.

All of it is looked at, whether it is an image or not, because DVC hashes all of it. What DVC
cannot hash, or would not see change, is refused by name: names that are not UTF-8, links to
folders, links to nothing, pipes and sockets, files this user may not read. Links to single files
are followed, and so is a link that is the folder itself.
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
"""What operating systems and NAS boxes leave in folders, besides hidden files; lower case."""

_MOST_NAMED = 10  # in a message

# What DVC cannot hash or watch: the reason and the way out, by kind.
_REFUSED = {
    "name": (
        "names that are not UTF-8, which DVC cannot record",
        "Rename them; for Latin-1 names: convmv -f latin1 -t utf8 -r --notest FOLDER.",
    ),
    "link": (
        "links to folders, behind which DVC would see no change",
        "Put a copy in each one's place (cp -rL), or set data.path to a folder that holds the "
        "images themselves.",
    ),
    "nothing": ("links to nothing", "Remove them, or mend what they lead to."),
    "special": ("neither files nor folders", "Move them out of the images."),
    "closed": ("not readable for this user", "Allow it: chmod -R u+rX FOLDER, as their owner."),
    "dvcignore": ("files that DVC refuses inside of data", "Move them out of the images."),
}


@dataclass(eq=False)
class Folder:
    """A folder below the data set's, or that itself, whose name is empty.

    Attributes:
        name: from the data set's folder.
        folders: what lies in it.
        files: names from the data set's folder.
    """

    name: str
    folders: list[Folder] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def last(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]

    def all_files(self) -> tuple[str, ...]:
        """The files in it, however deep, sorted."""
        found, pending = [], [self]
        while pending:
            folder = pending.pop()
            found += folder.files
            pending += folder.folders
        return tuple(sorted(found))


def require_folder(folder: Path) -> None:
    """Refuse what is no folder that can be read.

    Raises:
        DataError: the message has the rule.
    """
    wanted = "data.path must name the folder that holds one subfolder of images for every class."
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        link = " is a link to nothing" if folder.is_symlink() else ": no such folder"
        raise DataError(f"{printable(str(folder))}{link}. {wanted}") from None
    except OSError as error:  # a name that is too long, a folder above that is closed
        raise DataError(
            f"{printable(str(folder))} cannot be read ({error.strerror}). {wanted}"
        ) from error
    if not stat.S_ISDIR(mode):
        raise DataError(f"{printable(str(folder))} is a file, no folder. {wanted}")


def printable(name: str) -> str:
    """A file's name for a message: bytes that are no text and control characters are escaped."""
    return "".join(map(_printable, name))


def counted(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _printable(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python holds a byte that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character if character.isprintable() else ascii(character)[1:-1]


def some(items: Sequence[str], between: str = ", ") -> str:
    """The first items, and how many more there are."""
    more = len(items) - _MOST_NAMED
    shown = [printable(item) for item in items[:_MOST_NAMED]]
    return between.join([*shown, *([f"and {more} more"] if more > 0 else [])])


class Walk:
    """One look at everything below a folder.

    Args:
        folder: the data set's.

    Attributes:
        skipped: files that are no images of a class, by the name that says why.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.skipped = folder, Counter[str]()
        self._refused: dict[str, list[str]] = {kind: [] for kind in _REFUSED}

    def read(self) -> Folder:
        """The tree of what is not skipped."""
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
        """Refuse what was found that DVC cannot hash or watch.

        Raises:
            DataError: the names, the reason and the way out, by kind.
        """
        said = [
            f"{printable(str(self.folder))} holds {reason}: {some(sorted(names))}. {way_out}"
            for kind, (reason, way_out) in _REFUSED.items()
            if (names := self._refused[kind])
        ]
        if said:
            raise DataError("\n".join(said))

    def _entries(self, folder: Folder, why: str | None) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.folder / folder.name) as entries:
                return list(entries)
        except OSError as error:
            if why is None:  # DVC passes over what it cannot enter, such as root's lost+found
                self._refused["closed"].append(f"{folder.name or '.'} ({error.strerror})")
            return []

    def _kind(self, entry: os.DirEntry[str], name: str, skip: str | None) -> str:
        """`file`, `folder`, or `refused`, which is remembered; links are followed."""
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
            except OSError:  # also a link in a circle
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
