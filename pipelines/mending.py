"""Putting right what a DVC process that was killed left half-written."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LOCK = "dvc.lock"
_FOLDER = ".netwright"
_KEPT = "dvc.lock.kept"
_TORN = "dvc.lock.torn"
_DIGEST = re.compile(r"[0-9a-f]{32}(\.dir)?")
_CONFLICT = re.compile(rb"^(<<<<<<< |=======$|>>>>>>> )", re.MULTILINE)


def mend_lock(root: Path) -> None:
    """Put the last whole `dvc.lock` back if a kill left it half-written, and say so.

    DVC empties and rewrites it in place; killed in between, no later command reads it. What
    the stages since then have made still lies in DVC's cache, and is found there. The torn file
    is kept beside the copy. What is no such remainder (git's conflict markers) is left alone.

    Args:
        root: the repository.
    """
    if _same_as_kept(root) or not _torn(root / LOCK):
        return
    with _writing(root):
        if not _torn(root / LOCK):
            return
        kept, torn = root / _FOLDER / _KEPT, root / _FOLDER / _TORN
        torn.parent.mkdir(exist_ok=True)
        (root / LOCK).replace(torn)
        what = "removed: DVC's cache is searched for what was done"
        if kept.is_file():
            _write(root / LOCK, kept.read_bytes())
            what = "replaced by the last whole one"
        print(
            f"{LOCK} was half-written by a DVC that was killed; it was {what} "
            f"(and kept as {torn.relative_to(root)}).",
            file=sys.stderr,
        )


def keep_lock(root: Path) -> None:
    """Keep a copy of `dvc.lock`, whole and written at once, unless there is one.

    Args:
        root: the repository.
    """
    if not (root / LOCK).is_file() or _same_as_kept(root):
        return
    with _writing(root):
        if not _torn(root / LOCK):
            (root / _FOLDER).mkdir(exist_ok=True)
            _write(root / _FOLDER / _KEPT, (root / LOCK).read_bytes())


def read_mapping(file: Path) -> Mapping[str, Any]:
    """The content of a YAML file; an empty mapping where there is none.

    Raises:
        ValueError: it is no YAML mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe").load(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} is no mapping.")
    return content


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    """Hold the lock under which DVC writes `dvc.lock`."""
    from dvc.lock import make_lock

    folder = root / ".dvc" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    with make_lock(str(folder / "lock"), tmp_dir=str(folder), wait=True):
        yield


def _same_as_kept(root: Path) -> bool:
    try:
        return (root / LOCK).read_bytes() == (root / _FOLDER / _KEPT).read_bytes()
    except FileNotFoundError:
        return False


def _torn(file: Path) -> bool:
    """Whether a lock file is the beginning of one: empty, or ended in the middle of something."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return False
    if _CONFLICT.search(content):
        return False
    if not content.endswith(b"\n"):  # DVC ends it with one
        return True
    try:
        stages = read_mapping(file).get("stages")
    except ValueError:
        return True
    if not isinstance(stages, dict):
        return True
    return not all(_whole_entry(entry) for entry in stages.values())


def _whole_entry(entry: Any) -> bool:
    """Whether a stage's record has all its parts; DVC writes its command first."""
    if not isinstance(entry, dict) or "cmd" not in entry:
        return False
    files = [*(entry.get("deps") or []), *(entry.get("outs") or [])]
    return all(
        isinstance(file, dict)
        and "path" in file
        and ("md5" not in file or _DIGEST.fullmatch(str(file["md5"])))
        for file in files
    )


def _write(file: Path, content: bytes) -> None:
    temporary = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        with temporary.open("wb") as target:
            target.write(content)
            target.flush()
            os.fsync(target.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def clear_rwlock(root: Path) -> None:
    """Forget the commands in DVC's list that have ended, though their number is in use again.

    DVC itself forgets those whose process is gone, and no others. Call it while no stage of ours
    runs.

    Args:
        root: the repository.
    """
    mend_rwlock(root)
    file = root / ".dvc" / "tmp" / "rwlock"
    try:
        written, content = file.stat().st_mtime, json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return
    entries = list(content.get("write", {}).values())
    for readers in content.get("read", {}).values():
        entries += readers
    if entries and not any(_alive(entry["pid"], written) for entry in entries):
        with contextlib.suppress(FileNotFoundError):
            file.unlink()


def _alive(pid: int, written: float) -> bool:
    """Whether a process runs that had begun before the list was written."""
    import psutil

    try:
        return bool(psutil.Process(pid).create_time() <= written)
    except psutil.Error:
        return False


def mend_rwlock(root: Path) -> None:
    """Remove DVC's list of running commands if a kill left it half-written.

    DVC empties and rewrites `.dvc/tmp/rwlock` in place; killed in between, every later command
    fails with "JSON structure is corrupted". What the list held is lost either way. Writers hold
    a guard, which ends with them, so a list that is broken while the guard is ours stays broken.

    Args:
        root: the repository.
    """
    file = root / ".dvc" / "tmp" / "rwlock"
    if _whole(file):
        return
    from dvc.lock import make_lock

    with make_lock(str(file.with_name("rwlock.lock")), tmp_dir=str(file.parent), wait=True):
        if not _whole(file):
            file.unlink()


def _whole(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True
