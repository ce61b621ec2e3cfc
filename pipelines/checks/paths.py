"""Checks that no path of the params overlaps a stage output, without DVC.

DVC removes an output before its stage runs, with all user files in it. No path of the params may
lie in an output or contain one, also not through links, `..`, the spelling on a case-insensitive
file system, or a bind mount.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.system import describe_os_error
from core.yaml_file import ParamsError, read_yaml
from data.check import check_images
from data.sources import SOURCES
from pipelines.checks.params import read_params
from pipelines.graph import GRAPH_FILE

OWN = (".dvc", ".git", ".netwright", ".venv")
"""Folders of the repository that are reserved for DVC, git, a run and Python."""
_MOUNTS = Path("/proc/self/mountinfo")
_TEMPLATE = "${"
_MOVE_HINT = " Move your files to another folder, such as images/, and set that path."


@dataclass(frozen=True)
class Paths:
    """Paths in `dvc.yaml`, from the repository's root."""

    outs: tuple[str, ...]
    """Outputs of stages; those per device are represented by their parent folder."""
    code: tuple[str, ...]
    fetched: str | None
    """Output of the stage `fetch`."""


def path_problems(root: Path, values: Mapping[str, Any]) -> list[str]:
    """Problems with the paths of the sections that bind to their class."""
    graph = read_paths(root)
    problems = []
    for key, text in params_paths(values):
        problem = _unusable(root, key, text)
        if problem is None and not _is_fetched(root, key, text, values, graph):
            problem = _overlap(root, key, text, graph)
        if problem is None and key == "data.path":
            problem = _inside_code(root, text, graph) or _links_overlap(root, text, graph)
        if problem is not None:
            problems.append(problem)
    return problems


def read_checked_params(root: Path) -> Mapping[str, Any]:
    """Read the params; ValueError if they, a path or an image is wrong, which DVC must not read."""
    values = read_params(root)
    if problems := path_problems(root, values):
        raise ParamsError("\n".join(problems))
    check_images(values["data"])
    return values


def params_paths(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every path in the params, with its key."""
    for section, field in (
        ("data", "path"),
        ("space", "file"),
        ("supernet", "file"),
        ("teacher", "file"),
        ("search", "start_from"),
        ("race", "ledger"),
        ("roots", "signing_key"),
    ):
        if section in values and getattr(values[section], field) is not None:
            key = field if section == "roots" else f"{section}.{field}"
            yield key, getattr(values[section], field)
    for name, device in values.get("devices", {}).items():
        if device.table is not None:
            yield f"devices.{name}.table.file", device.table.file


def read_paths(root: Path) -> Paths:
    """Read the paths of every `dvc.yaml` of the repository, without DVC."""
    stages = _stages(root / GRAPH_FILE)
    outs = [
        (file.parent / out).relative_to(root).as_posix()
        for file in (root / GRAPH_FILE, *sorted(root.glob(f"*/{GRAPH_FILE}")))
        for stage in _stages(file).values()
        for out in _outs(stage)
    ]
    deps = [dep for stage in stages.values() for dep in _texts(stage.get("deps"))]
    code = [
        dep.split("/")[0]
        for dep in deps
        if _TEMPLATE not in dep and not any(dep == out or dep.startswith(f"{out}/") for out in outs)
    ]
    fetched = next(iter(_outs(stages.get("fetch", {}))), None)
    return Paths(tuple(dict.fromkeys(outs)), tuple(dict.fromkeys(code)), fetched)


def _stages(file: Path) -> dict[str, dict[str, Any]]:
    stages = read_yaml(file).get("stages") or {}
    return {name: stage.get("do", stage) for name, stage in stages.items()}


def _outs(stage: Mapping[str, Any]) -> list[str]:
    """Outputs of a stage; for a per-device output, its parent folder."""
    found = []
    for out in _texts(stage.get("outs")):
        fixed, template, _ = out.partition(_TEMPLATE)
        found.append(fixed.rpartition("/")[0] if template else out)
    return [out for out in found if out]


def _texts(entries: Any) -> list[str]:
    """Paths of a list whose items may have options: `path` or `{path: {persist: true}}`."""
    return [str(next(iter(e)) if isinstance(e, dict) else e) for e in entries or ()]


def _unusable(root: Path, key: str, text: str) -> str | None:
    """Why a path cannot be read; None if it can."""
    if "\0" in text:
        return f"{key}: a path cannot contain the character NUL (got {text!r})."
    path = root / text
    try:
        path.stat()
    except FileNotFoundError:  # the check of its content reports it
        for expanded in (os.path.expanduser(text), os.path.expandvars(text)):  # noqa: PTH111
            if expanded != text:
                return f"{key}: ~ and $ are not expanded; write {expanded} instead of {text}."
        return None
    except RuntimeError:
        return f"{key}: {text}: its symbolic links form a cycle: remove one of them."
    except OSError as error:
        return f"{key}: {describe_os_error(error)}"
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        return f"{key}: {text} is not readable by this user: change its permissions or owner."
    return None


def _is_fetched(root: Path, key: str, text: str, values: Mapping[str, Any], graph: Paths) -> bool:
    """Whether `data.path` is the output of `fetch`, for a source that can be downloaded."""
    if key != "data.path" or graph.fetched is None:
        return False
    same = os.path.abspath(root / text) == os.path.abspath(root / graph.fetched)  # noqa: PTH100
    return same and SOURCES[values["data"].source].fetchable


def _overlap(root: Path, key: str, text: str, graph: Paths) -> str | None:
    path = root / text
    for kept in OWN:
        if is_inside(path, root / kept):
            return f"{key}: {text} lies in {kept}, which is reserved for tools.{_MOVE_HINT}"
    for out in graph.outs:
        if is_inside(path, root / out):
            return (
                f"{key}: {text} lies in {out}, a stage output that a run replaces: your files "
                f"there would be lost.{_MOVE_HINT}"
            )
        if is_inside(root / out, path):
            return f"{key}: {text} contains {out}, a stage output that a run replaces.{_MOVE_HINT}"
    return None


def _inside_code(root: Path, text: str, graph: Paths) -> str | None:
    for dep in graph.code:
        if (root / dep).is_dir() and is_inside(root / text, root / dep):
            return (
                f"data.path: {text} lies in {dep}, which is code: every added image would make "
                "all stages that depend on the code stale. Move the images to another folder, "
                "such as images/."
            )
    return None


def _links_overlap(root: Path, text: str, graph: Paths) -> str | None:
    """Check the links directly below the image folder, one per class."""
    with suppress(OSError):
        for entry in sorted(os.scandir(root / text), key=lambda entry: entry.name):
            if entry.is_symlink():
                problem = _overlap(root, "data.path", str(Path(text, entry.name)), graph)
                if problem is not None:
                    return problem
    return None


def is_inside(inner: Path, outer: Path) -> bool:
    """Whether `inner` is `outer` or lies in it: by name, inode, or location on the disk."""
    named = [Path(os.path.abspath(path)) for path in (inner, outer)]  # noqa: PTH100
    if named[0].is_relative_to(named[1]):
        return True
    inner, outer = inner.resolve(), outer.resolve()
    if inner.is_relative_to(outer):
        return True
    same = _identity(outer)
    if same is not None and same in {_identity(path) for path in (inner, *inner.parents)}:
        return True  # on a case-insensitive file system one folder has many names
    disks = [_on_disk(path) for path in (inner, outer)]
    return disks[0] is not None and disks[1] is not None and disks[0].is_relative_to(disks[1])


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _on_disk(path: Path) -> Path | None:
    """Location of a resolved path on its disk, equal for all bind mounts of a folder.

    None on systems other than Linux.
    """
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    best: tuple[Path, Path] | None = None
    for line in lines:  # id, parent, device, root on the disk, mount point, ...; later ones cover
        _, _, device, below_disk, point = (_unescaped(part) for part in line.split(" ")[:5])
        mount = Path(point)
        if path.is_relative_to(mount) and (best is None or mount.is_relative_to(best[0])):
            best = mount, Path("/", device, below_disk.lstrip("/"))
    return None if best is None else best[1] / path.relative_to(best[0])


def _unescaped(text: str) -> str:
    r"""Decode the octal escapes of a mountinfo field, such as `\040` for a blank."""
    return re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), text)
