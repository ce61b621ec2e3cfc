"""Outputs of devices that are no longer in the params."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipelines.graph import Graph


def leftover_notes(root: Path, graph: Graph) -> list[str]:
    """One note per removed device, with the paths of its outputs.

    They are not deleted: the device may be renamed back, and a bundle may be in use.

    Args:
        root: the repository.
        graph: all stages, which give the folders of devices' outputs.
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
