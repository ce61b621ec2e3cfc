"""Protects users' files in stage outputs, which DVC removes before a stage runs.

Files that DVC has recorded or cached are not lost by that. Files of an interrupted stage may be
lost; a marker in `.netwright/begun` identifies them. All other files are the user's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from core.files import write_bytes
from pipelines.cache import find_unrecorded
from pipelines.graph import Graph, Stage
from pipelines.plan import Plan
from pipelines.workspace import Workspace


def mark_started(root: Path, stage: Stage) -> None:
    """Write the marker of a stage that starts, and may write its outputs from now on."""
    write_bytes(_mark(root, stage), json.dumps(None).encode())


def mark_ended(root: Path, stage: Stage, done: bool) -> None:
    """Remove the marker of a successful stage; after a failure, list its files in the marker.

    A stage killed with its run leaves the marker of `mark_started`: all files are its own.
    """
    mark = _mark(root, stage)
    if done:
        mark.unlink(missing_ok=True)
    else:
        write_bytes(mark, json.dumps(_present(root, stage)).encode())


def foreign_problems(root: Path, plan: Plan) -> list[str]:
    """Problems of stages that would run and whose outputs hold files that no stage wrote."""
    owners = {out: plan.graph[name] for name in plan.stale for out in plan.graph[name].outs}
    held = [out for out in owners if (root / out).exists()]
    problems = []
    for out, files in (find_unrecorded(root, held) if held else {}).items():
        left = _left_behind(root, owners[out], files)
        others = [file for file in files if file not in left]
        if others:
            kind = "folder" if (root / out).is_dir() else "file"
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            problems.append(
                f"{out}: no stage wrote {_printable(others[0])}{more}, and the stage "
                f"'{owners[out].name}' replaces that {kind}. Move your files to another "
                "folder, such as images/, or delete them."
            )
    return problems


def leftover_notes(root: Path, graph: Graph) -> list[str]:
    """One note per device that is no longer in the params, with the paths of its outputs.

    They are not deleted: the device may be renamed back, and a bundle may be in use.
    """
    outs = [Path(out) for stage in graph if stage.device is not None for out in stage.outs]
    known = dict.fromkeys(out for out in outs if out.stem in graph.devices)
    left: dict[str, list[str]] = {}
    for folder in dict.fromkeys(out.parent for out in known):
        for entry in sorted((root / folder).glob("*")):
            path = entry.relative_to(root)
            if path not in known and not entry.name.startswith(".") and _is_output(path, known):
                left.setdefault(entry.stem, []).append(path.as_posix())
    return [
        f"{name}: no device of params.yaml has this name, but its outputs remain: "
        f"{', '.join(paths)}. Delete them, or rename the device back."
        for name, paths in left.items()
    ]


def _is_output(path: Path, known: Iterable[Path]) -> bool:
    """Whether a path has the suffix of the device outputs in its folder."""
    return path.suffix in {out.suffix for out in known if out.parent == path.parent}


def _left_behind(root: Path, stage: Stage, files: list[str]) -> set[str]:
    """The files that an interrupted or failed run of the stage left."""
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


def _printable(name: str) -> str:
    """A printable name: surrogates, which stand for undecodable bytes, are escaped."""
    return name.encode(errors="backslashreplace").decode()
