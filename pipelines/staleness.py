"""What is stale, and why: the outputs of all stages against what DVC has recorded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipelines.graph import Graph, build_graph, open_repository, own_stages, relative_path

NEVER = "has never run"


def read_state(root: Path) -> tuple[Graph, dict[str, list[str]]]:
    """The graph, and its stale stages in order, with the reasons.

    Stages downstream of a stale one are included; DVC skips them at run time if their inputs turn
    out to be unchanged.

    Raises:
        GraphError: see `read_graph`.
    """
    with open_repository(root) as repo:
        graph = build_graph(repo, root)
        return graph, _find_stale(repo, graph)


def _find_stale(repo: Any, graph: Graph) -> dict[str, list[str]]:
    # `repo.status` would parse dvc.yaml and dvc.lock again.
    status: dict[str, list[Any]] = {}
    with repo.lock:
        for stage in own_stages(repo):
            status |= stage.status(check_updates=True)
    result: dict[str, list[str]] = {}
    for stage in graph:
        before = sorted(stage.upstreams & result.keys())
        explained = {out for name in before for out in graph[name].outs}
        reasons = [
            text for path, text in _reasons(status.get(stage.name, [])) if path not in explained
        ]
        if NEVER in reasons:
            result[stage.name] = [NEVER]
        elif reasons or before:
            result[stage.name] = reasons or [f"after {', '.join(before)}"]
    return result


def find_unrecorded(root: Path, outs: Iterable[str]) -> dict[str, list[str]]:
    """The files in outputs that DVC has not recorded and cannot restore from its cache.

    Args:
        root: the repository.
        outs: paths of outputs, from the root.

    Raises:
        GraphError: DVC fails.
    """
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
    digest = None if file.is_symlink() else md5_of(file)
    return digest is not None and bool(repo.cache.local.exists(digest))


def md5_of(file: Path) -> str | None:
    """MD5 of a file as DVC computes it; None if there is no file."""
    if not file.is_file():
        return None
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _reasons(entries: Iterable[Any]) -> list[tuple[str, str]]:
    """DVC's status of one stage as (what changed, a short sentence)."""
    reasons: list[tuple[str, str]] = []
    for entry in entries:
        if isinstance(entry, str):  # "changed command", "always changed"
            reasons.append(("", entry))
            continue
        for changes in entry.values():
            for path, change in changes.items():
                if isinstance(change, dict):  # a params file: key -> modified, new, deleted
                    reasons.extend((key, f"{key} {kind}") for key, kind in change.items())
                elif change == "new":  # DVC's lock file knows no such input
                    reasons.append((path, NEVER))
                else:
                    reasons.append((path, f"{path} {'missing' if change == 'deleted' else change}"))
    return reasons
