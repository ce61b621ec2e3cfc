"""Integrity check of outputs that DVC has restored from its cache.

DVC hashes the outputs of a stage once and does not check its cache again: it restores an object
that was damaged on the disk, and considers it unchanged.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.graph import Stage, cache_folder
from pipelines.repair import LOCK, read_mapping
from pipelines.staleness import md5_of


def drop_damaged(root: Path, stage: Stage) -> list[str]:
    """Remove cached objects of a stage's outputs whose hash differs from their name.

    Outputs that contain them are removed too, so that DVC neither restores nor keeps them.

    Returns:
        The damaged files, from the repository's root; empty if there are none.
    """
    recorded = read_mapping(root / LOCK).get("stages", {}).get(stage.name, {}).get("outs", [])
    cache, damaged = cache_folder(root), []
    for out in recorded:
        bad = list(_damaged(root / out["path"], out, cache))
        for path, digest in bad:
            damaged.append(path.relative_to(root).as_posix())
            _object(cache, digest).unlink(missing_ok=True)
        if bad:
            _remove(root / out["path"])
    return damaged


def _damaged(path: Path, out: dict[str, Any], cache: Path) -> Iterator[tuple[Path, str]]:
    """Files of an output that differ from their recorded hash, with that hash."""
    digest = str(out["md5"])
    if not digest.endswith(".dir"):
        if md5_of(path) != digest:
            yield path, digest
        return
    listing = _object(cache, digest)
    if f"{md5_of(listing)}.dir" != digest:
        yield path, digest
        return
    for entry in json.loads(listing.read_bytes()):
        file = path / entry["relpath"]
        if md5_of(file) != entry["md5"]:
            yield file, entry["md5"]


def _object(cache: Path, digest: str) -> Path:
    return cache / digest[:2] / digest[2:]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
