"""Repair of `dvc.lock` and of DVC's rwlock after a DVC process was killed while writing them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from core.files import write_bytes

LOCK = "dvc.lock"
_FOLDER = ".netwright"
_BACKUP = "dvc.lock.kept"
_TRUNCATED = "dvc.lock.torn"
_DIGEST = re.compile(r"[0-9a-f]{32}(\.dir)?")
_CONFLICT = re.compile(rb"^(<<<<<<< |=======$|>>>>>>> )", re.MULTILINE)


def repair_lock(root: Path) -> None:
    """Restore `dvc.lock` from its backup if it is truncated, and print a message.

    DVC rewrites it in place; if killed meanwhile, every later command fails. Results of the stages
    since the backup are found in DVC's cache. The truncated file is kept beside the backup. A file
    with git's conflict markers is left alone.
    """
    if _matches_backup(root) or not _is_truncated(root / LOCK):
        return
    with _hold_dvc_lock(root):
        if not _is_truncated(root / LOCK):
            return
        kept, torn = root / _FOLDER / _BACKUP, root / _FOLDER / _TRUNCATED
        torn.parent.mkdir(exist_ok=True)
        (root / LOCK).replace(torn)
        what = "removed: finished stages are restored from DVC's cache"
        if kept.is_file():
            write_bytes(root / LOCK, kept.read_bytes())
            what = "replaced by its last backup"
        print(
            f"{LOCK} was truncated, because DVC was killed while writing it; it was {what} "
            f"(and kept as {torn.relative_to(root)}).",
            file=sys.stderr,
        )


def back_up_lock(root: Path) -> None:
    """Write a backup of `dvc.lock` atomically, unless there is one or the file is truncated."""
    if not (root / LOCK).is_file() or _matches_backup(root):
        return
    with _hold_dvc_lock(root):
        if not _is_truncated(root / LOCK):
            write_bytes(root / _FOLDER / _BACKUP, (root / LOCK).read_bytes())


def read_mapping(file: Path) -> Mapping[str, Any]:
    """Read a YAML mapping of DVC's quickly, empty if there is no file; ValueError if it is none."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe").load(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} is not a mapping.")
    return content


@contextmanager
def _hold_dvc_lock(root: Path) -> Iterator[None]:
    """Hold the lock under which DVC writes `dvc.lock`."""
    from dvc.lock import make_lock

    folder = root / ".dvc" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    with make_lock(str(folder / "lock"), tmp_dir=str(folder), wait=True):
        yield


def _matches_backup(root: Path) -> bool:
    try:
        return (root / LOCK).read_bytes() == (root / _FOLDER / _BACKUP).read_bytes()
    except FileNotFoundError:
        return False


def _is_truncated(file: Path) -> bool:
    """Whether a lock file is empty or ends in the middle of an entry."""
    content = file.read_bytes() if file.is_file() else None
    if content is None or _CONFLICT.search(content):
        return False
    if not content.endswith(b"\n"):  # DVC ends it with one
        return True
    try:
        stages = read_mapping(file).get("stages")
    except ValueError:
        return True
    return not isinstance(stages, dict) or not all(map(_is_complete, stages.values()))


def _is_complete(entry: Any) -> bool:
    """Whether a stage's lock entry has all its parts; DVC writes `cmd` first."""
    if not isinstance(entry, dict) or "cmd" not in entry:
        return False
    return all(
        isinstance(file, dict)
        and "path" in file
        and ("md5" not in file or _DIGEST.fullmatch(str(file["md5"])))
        for file in [*(entry.get("deps") or []), *(entry.get("outs") or [])]
    )


def clear_rwlock(root: Path) -> None:
    """Remove DVC's rwlock if all its processes have ended, even if their PIDs were reused.

    DVC itself removes only entries whose PID does not exist. Call it while no stage of this
    repository runs.
    """
    repair_rwlock(root)
    file = _rwlock(root)
    try:
        written, content = file.stat().st_mtime, json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return
    entries = list(chain(content.get("write", {}).values(), *content.get("read", {}).values()))
    if entries and not any(_alive(entry["pid"], written) for entry in entries):
        file.unlink(missing_ok=True)


def _alive(pid: int, written: float) -> bool:
    """Whether the process runs and started before the rwlock was written."""
    import psutil

    try:
        return bool(psutil.Process(pid).create_time() <= written)
    except psutil.Error:
        return False


def repair_rwlock(root: Path) -> None:
    """Remove DVC's rwlock if it is truncated.

    DVC rewrites it in place; if killed meanwhile, every later command fails with "JSON structure is
    corrupted". Writers hold `rwlock.lock`, which is released when they end, so a file that is
    invalid while that lock is held here has no writer.
    """
    file = _rwlock(root)
    if _is_valid_json(file):
        return
    from dvc.lock import make_lock

    with make_lock(str(file.with_name("rwlock.lock")), tmp_dir=str(file.parent), wait=True):
        if not _is_valid_json(file):
            file.unlink()


def _rwlock(root: Path) -> Path:
    return root / ".dvc" / "tmp" / "rwlock"


def _is_valid_json(file: Path) -> bool:
    """Whether a file is valid or missing."""
    try:
        json.loads(file.read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True
