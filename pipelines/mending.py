"""Putting right what a DVC process that was killed left half-written."""

from __future__ import annotations

import json
from pathlib import Path


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
