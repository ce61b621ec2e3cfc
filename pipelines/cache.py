"""Outputs of stages against DVC's cache: files that it lacks, and objects that are damaged.

DVC hashes the outputs of a stage once and does not check its cache again: it restores an object
that was damaged on the disk, and considers it unchanged.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipelines.graph import Stage, open_repository, relative_path
from pipelines.repair import LOCK, read_mapping


def cache_folder(root: Path) -> Path:
    """DVC's object cache of this repository."""
    with open_repository(root) as repo:
        return Path(repo.cache.local.path)


def find_unrecorded(root: Path, outs: Iterable[str]) -> dict[str, list[str]]:
    """The files in outputs that DVC has not recorded and cannot restore from its cache."""
    found: dict[str, list[str]] = {}
    with open_repository(root) as repo:
        known = {relative_path(out, root): out for stage in repo.index.stages for out in stage.outs}
        for name in outs:
            out = known[name]
            if not (root / name).exists() or (out.hash_info and not out.changed_checksum()):
                continue
            recorded = _recorded(repo, out)
            files = [
                file.relative_to(root).as_posix()
                for file in _files(root / name)
                if file.relative_to(root / name).as_posix() not in recorded
                and not repo.dvcignore.is_ignored_file(str(file))
                and not _in_cache(repo, file)
            ]
            if files:
                found[name] = files
    return found


def _recorded(repo: Any, out: Any) -> set[str]:
    """The files of an output that dvc.lock records, as far as the cache still lists them."""
    if not out.hash_info or not out.hash_info.isdir:
        return set()
    if not repo.cache.local.exists(out.hash_info.value):
        return set()
    return {"/".join(key) for key, *_ in out.get_obj() or ()}


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for parent, folders, names in os.walk(path):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in sorted([*names, *links]))


def _in_cache(repo: Any, file: Path) -> bool:
    digest = None if file.is_symlink() else _md5(file)
    return digest is not None and bool(repo.cache.local.exists(digest))


def _md5(file: Path) -> str | None:
    """MD5 of a file as DVC computes it; None if there is no file."""
    if not file.is_file():
        return None
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def drop_damaged(root: Path, stage: Stage) -> list[str]:
    """Remove cached objects of a stage's outputs whose hash differs from their name.

    Outputs that contain them are removed too, so that DVC neither restores nor keeps them. Returns
    the damaged files, from the repository's root.
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
        if _md5(path) != digest:
            yield path, digest
        return
    listing = _object(cache, digest)
    if f"{_md5(listing)}.dir" != digest:
        yield path, digest
        return
    for entry in json.loads(listing.read_bytes()):
        file = path / entry["relpath"]
        if _md5(file) != entry["md5"]:
            yield file, entry["md5"]


def _object(cache: Path, digest: str) -> Path:
    return cache / digest[:2] / digest[2:]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
