"""What is left of devices that the params no longer have."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipelines.graph import Graph


def leftover_notes(root: Path, graph: Graph) -> list[str]:
    """Say of every device that is gone where what was made for it still lies.

    Nothing is moved: whoever renamed a device may rename it back, and a bundle may be in use.

    Args:
        root: the repository.
        graph: all stages; the folders in which devices' outputs lie come from it.
    """
    outs = [Path(out) for stage in graph if stage.device is not None for out in stage.outs]
    known = dict.fromkeys(out for out in outs if out.stem in graph.devices)
    left: dict[str, list[str]] = {}
    for folder in dict.fromkeys(out.parent for out in known):
        for entry in sorted((root / folder).glob("*")):
            path = entry.relative_to(root)
            if path not in known and not entry.name.startswith(".") and _may_be_ours(path, known):
                left.setdefault(entry.stem, []).append(path.as_posix())
    return [
        f"{name}: no device of params.yaml has this name, and what was made for it stays: "
        f"{', '.join(paths)}. Delete it, or give the device its name back."
        for name, paths in left.items()
    ]


def _may_be_ours(path: Path, known: Iterable[Path]) -> bool:
    """Whether a path looks as a device's output in that folder does."""
    return path.suffix in {out.suffix for out in known if out.parent == path.parent}
