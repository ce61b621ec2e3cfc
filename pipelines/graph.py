"""The stage graph, read from `dvc.yaml` through DVC.

DVC's Python API below `Repo.status` is not public. Only this module, `plan.py` and `cache.py` use
it; DVC's version is pinned.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from core.errors import nearest
from core.settings import Params, ParamsError, bind
from core.yaml_file import conflict_message, has_conflict
from pipelines.repair import LOCK, repair_lock

GRAPH_FILE = "dvc.yaml"
PARAMS = "params.yaml"


class GraphError(ValueError):
    """`dvc.yaml` cannot be used, or lacks the requested stage or device."""


class StageMeta(Params):
    """The `meta` of a stage in `dvc.yaml`; it does not make a stage stale."""

    exclusive: bool = False
    """Runs alone, because it measures time."""
    first: bool = False
    """Runs as early as possible; if it fails, no other stage is started."""
    retries: int = Field(0, ge=0)
    """Number of retries after a failure."""
    timeout_s: float | None = Field(None, gt=0)
    """Timeout in seconds; None: no timeout."""


@dataclass(frozen=True)
class Stage:
    """One node of the graph; its paths are relative to the repository's root.

    Attributes:
        name: DVC's address, such as `train@edge-cpu`.
        params: keys of params.yaml that it reads.
        upstreams: names of the stages whose outs it reads.
        persists: whether an output has `persist: true`; DVC then has no run cache for the stage,
            so that a missing output has to be restored by `dvc checkout`.
    """

    name: str
    command: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]
    upstreams: frozenset[str]
    meta: StageMeta
    persists: bool = False

    @property
    def kind(self) -> str:
        """The name without the device."""
        return self.name.partition("@")[0]

    @property
    def device(self) -> str | None:
        """The device of a fanned-out stage, None for a shared one."""
        return self.name.partition("@")[2] or None


@dataclass(frozen=True)
class Graph:
    """All stages by name, each after its upstreams, otherwise in the order of the file."""

    stages: Mapping[str, Stage]

    def __getitem__(self, name: str) -> Stage:
        """The stage of that name; raises GraphError if there is none."""
        if name not in self.stages:
            raise GraphError(f"dvc.yaml has no stage '{name}'.{nearest(name, self.stages)}")
        return self.stages[name]

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages.values())

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that stages are fanned out over, in params order."""
        return tuple(dict.fromkeys(stage.device for stage in self if stage.device is not None))

    def with_ancestors(self, names: Iterable[str]) -> frozenset[str]:
        """These stages and everything they need."""
        found: set[str] = set()
        pending = list(names)
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                pending.extend(self[name].upstreams)
        return frozenset(found)


def find_root(start: Path) -> Path:
    """The nearest folder with a `dvc.yaml`, `start` or above it; GraphError if there is none."""
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise GraphError(
        f"no dvc.yaml in {start} or above it: this is not a Netwright repository. "
        "Run the command inside the cloned folder."
    )


def read_graph(root: Path) -> Graph:
    """Read the graph; GraphError if DVC refuses `dvc.yaml`, or a `meta` has an unknown key."""
    with open_repository(root) as repo:
        return build_graph(repo, root)


def build_graph(repo: Any, root: Path) -> Graph:
    """Build the graph from DVC's repository object."""
    import networkx as nx

    ours = own_stages(repo)
    position = {stage: number for number, stage in enumerate(ours)}
    edges = repo.index.graph.subgraph(ours)  # from a stage to those that it reads from
    stages = {}
    for generation in nx.topological_generations(edges.reverse(copy=False)):
        for node in sorted(generation, key=position.__getitem__):
            upstreams = frozenset(other.addressing for other in edges.successors(node))
            stages[node.addressing] = _stage(node, upstreams, root)
    return Graph(stages)


def own_stages(repo: Any) -> list[Any]:
    """DVC's stages of the root's `dvc.yaml`; those of other files (benchmarks) are left out."""
    return [stage for stage in repo.index.stages if stage.path_in_repo == GRAPH_FILE]


@contextmanager
def open_repository(root: Path) -> Iterator[Any]:
    """DVC's read-only view of the repository; DVC's exceptions become GraphError.

    DVC's locks are not taken, because nothing is written: readers neither wait for a run nor block
    one, and leave nothing behind when killed.
    """
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    from dvc.exceptions import DvcException
    from dvc.lock import LockNoop
    from dvc.repo import Repo

    for name in (GRAPH_FILE, LOCK):
        if has_conflict(root / name):
            raise GraphError(conflict_message(root / name))
    repair_lock(root)
    try:
        # DVC names stages relative to the working folder.
        with (
            chdir(root),
            tempfile.TemporaryDirectory(prefix="netwright-") as own,
            Repo(str(root)) as repo,
        ):
            repo.lock, repo.tmp_dir = LockNoop(), own  # its list of commands lies in `tmp_dir`
            with _params_read_once():
                yield repo
    except DvcException as error:
        cause = error.__cause__
        detail = f": {cause}" if cause is not None and str(cause) not in str(error) else ""
        raise GraphError(f"DVC cannot read this repository: {error}{detail}") from error
    except (OSError, UnicodeError) as error:  # in a file that DVC hashes
        raise GraphError(f"DVC cannot read a dependency of a stage: {error}") from error


@contextmanager
def _params_read_once() -> Iterator[None]:
    """Make DVC parse a params file once, not once per stage (a third of the time of status)."""
    from dvc.dependency import param

    parse = param.load_path
    param.load_path = functools.cache(parse)
    try:
        yield
    finally:
        param.load_path = parse


def _stage(node: Any, upstreams: frozenset[str], root: Path) -> Stage:
    try:
        meta = bind(node.meta, f"dvc.yaml: stages.{node.name}.meta", StageMeta)
    except ParamsError as error:
        raise GraphError(str(error)) from error
    return Stage(
        name=node.addressing,
        command=str(node.cmd),
        deps=tuple(relative_path(dep, root) for dep in node.deps if not hasattr(dep, "params")),
        params=tuple(key for dep in node.deps for key in getattr(dep, "params", ())),
        outs=tuple(relative_path(out, root) for out in node.outs),
        upstreams=upstreams,
        meta=meta,
        persists=any(out.persist for out in node.outs),
    )


def relative_path(output: Any, root: Path) -> str:
    """Path of a dependency or an output of DVC's, from the repository's root."""
    path = Path(output.fs_path)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
