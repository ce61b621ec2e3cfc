"""Whether what lies in the outputs is the run's own, before DVC empties them.

DVC removes a stage's outputs before the stage runs, whoever filled them. What it recorded, or has
in its cache, is not lost by that; neither is what a stage left behind that was stopped, which a
mark in `.netwright/begun` says. Anything else is the user's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pipelines.graph import Graph, Stage, unrecorded
from pipelines.workspace import Workspace
from stages.common.files import write_bytes


def begin(root: Path, stage: Stage) -> None:
    """Note that from now on a stage may write its outputs."""
    write_bytes(_mark(root, stage), json.dumps(None).encode())


def ended(root: Path, stage: Stage, done: bool) -> None:
    """Note how a stage ended: with outputs that DVC recorded, or with what lies there now.

    A stage that is killed with its run leaves the note of `begin`: all that lies there is its own.
    """
    mark = _mark(root, stage)
    if done:
        mark.unlink(missing_ok=True)
    else:
        write_bytes(mark, json.dumps(_present(root, stage)).encode())


def foreign_problems(root: Path, graph: Graph, stale: Iterable[str]) -> list[str]:
    """Refuse to run stages whose outputs hold files that no stage wrote.

    Args:
        root: the repository.
        graph: all stages.
        stale: names of those that would run.

    Raises:
        GraphError: DVC cannot tell what it recorded.
    """
    owners = {out: graph[name] for name in stale for out in graph[name].outs}
    held = [out for out in owners if (root / out).exists()]
    problems = []
    for out, files in (unrecorded(root, held) if held else {}).items():
        left = _left_behind(root, owners[out], files)
        others = [file for file in files if file not in left]
        if others:
            kind = "folder" if (root / out).is_dir() else "file"
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            problems.append(
                f"{out}: no stage wrote {_shown(others[0])}{more}, and the stage "
                f"'{owners[out].name}' writes that {kind} anew. Move your files to a "
                "folder of their own, such as images/, or delete them."
            )
    return problems


def _left_behind(root: Path, stage: Stage, files: list[str]) -> set[str]:
    """Which of the files a stage left there that did not come to its end."""
    try:
        content = json.loads(_mark(root, stage).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return set()
    return set(files if content is None else content)


def _present(root: Path, stage: Stage) -> list[str]:
    outs = [root / out for out in stage.outs]
    files = [p for out in outs for p in (out.rglob("*") if out.is_dir() else [out])]
    return sorted(file.relative_to(root).as_posix() for file in files)


def _mark(root: Path, stage: Stage) -> Path:
    return Workspace(root).folder / "begun" / f"{stage.name}.json"


def _shown(name: str) -> str:
    """A name that a terminal takes: surrogates stand for bytes that are no text."""
    return name.encode(errors="backslashreplace").decode()
