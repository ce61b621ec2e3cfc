"""The stage graph, read from `dvc.yaml` through DVC, and what of it is stale.

DVC's Python interface below `Repo.status` is not public. This module alone uses it; the version
of DVC is pinned.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from pipelines.mending import LOCK, mend_lock
from stages.common.params import (
    Params,
    ParamsError,
    bind,
    conflict_message,
    has_conflict,
    nearest,
)

GRAPH_FILE = "dvc.yaml"
PARAMS = "params.yaml"
NEVER = "has never run"


class GraphError(ValueError):
    """`dvc.yaml` cannot be used, or does not hold what was asked for."""


class StageMeta(Params):
    """The `meta` of a stage in `dvc.yaml`; it does not make a stage stale."""

    exclusive: bool = False
    """Runs while nothing else runs: it measures time."""
    first: bool = False
    """Runs as early as it can; nothing more is started once it failed."""
    retries: int = Field(0, ge=0)
    """How often it is started again after a failure."""
    timeout_s: float | None = Field(None, gt=0)
    """Seconds after which it is stopped; None: never."""


@dataclass(frozen=True)
class Stage:
    """One node of the graph.

    Attributes:
        name: DVC's address, such as `train@edge-cpu`.
        command: what it runs.
        deps: files and folders it reads, from the repository's root.
        params: keys of params.yaml that it reads.
        outs: files and folders it writes.
        upstreams: names of the stages whose outs it reads.
        meta: how to run it.
        persists: whether an output is left as it is when the stage runs; DVC then has no run
            cache for the stage, so that a missing output has to be brought back by `dvc checkout`.
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
    """All stages by name; a stage always comes after its upstreams."""

    stages: Mapping[str, Stage]

    def __getitem__(self, name: str) -> Stage:
        """The stage of that name.

        Raises:
            GraphError: there is none.
        """
        if name not in self.stages:
            raise GraphError(f"dvc.yaml has no stage '{name}'.{nearest(name, self.stages)}")
        return self.stages[name]

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages.values())

    def __len__(self) -> int:
        return len(self.stages)

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that stages are fanned out over, in the order of the params."""
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

    def with_descendants(self, names: Iterable[str]) -> frozenset[str]:
        """These stages and everything that needs them."""
        found = set(names)
        for stage in self:  # upstreams come first
            if stage.upstreams & found:
                found.add(stage.name)
        return frozenset(found)


def find_root(start: Path) -> Path:
    """The repository's root: the nearest folder with a `dvc.yaml`, `start` or above it.

    Raises:
        GraphError: there is none.
    """
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise GraphError(
        f"no dvc.yaml in {start} or above it: this is not a Netwright repository. "
        "Run inside the folder that was cloned."
    )


def read_graph(root: Path) -> Graph:
    """Read the graph of the repository at `root`.

    Raises:
        GraphError: DVC refuses `dvc.yaml`, or a stage's `meta` has an unknown key.
    """
    with _repository(root) as repo:
        return _graph(repo, root)


def stale(root: Path, graph: Graph) -> dict[str, list[str]]:
    """The stages that would run, in order, and why.

    A stage downstream of a stale one is listed too: whether it really runs is known only when
    its inputs are there, and DVC skips it if they turn out to be what they were.

    Raises:
        GraphError: DVC cannot tell.
    """
    with _repository(root) as repo:
        return _stale(repo, graph)


def read_state(root: Path) -> tuple[Graph, dict[str, list[str]]]:
    """The graph and what of it is stale, with DVC opened once.

    Raises:
        GraphError: see `read_graph` and `stale`.
    """
    with _repository(root) as repo:
        graph = _graph(repo, root)
        return graph, _stale(repo, graph)


def cache_folder(root: Path) -> Path:
    """Where DVC keeps the objects of this repository, by hash.

    Raises:
        GraphError: DVC cannot tell.
    """
    with _repository(root) as repo:
        return Path(repo.cache.local.path)


def _graph(repo: Any, root: Path) -> Graph:
    import networkx as nx

    ours = _ours(repo)
    # From a stage to the stages it reads from.
    edges = repo.index.graph.subgraph(ours)
    order = list(nx.topological_sort(edges.reverse(copy=False)))
    position = {stage.addressing: number for number, stage in enumerate(ours)}
    stages = [_stage(node, {n.addressing for n in edges.successors(node)}, root) for node in order]
    return Graph(_in_file_order(stages, position))


def _ours(repo: Any) -> list[Any]:
    """DVC's stages of this graph; those of other files (benchmarks have some) are run alone."""
    return [stage for stage in repo.index.stages if stage.path_in_repo == GRAPH_FILE]


def _stale(repo: Any, graph: Graph) -> dict[str, list[str]]:
    # `repo.status` of a file would read it and the lock file anew.
    status: dict[str, list[Any]] = {}
    with repo.lock:
        for stage in _ours(repo):
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


def unrecorded(root: Path, outs: Iterable[str]) -> dict[str, list[str]]:
    """The files in outputs that DVC neither recorded nor could bring back from its cache.

    Args:
        root: the repository.
        outs: outputs, from the root.

    Raises:
        GraphError: DVC cannot tell.
    """
    found: dict[str, list[str]] = {}
    with _repository(root) as repo:
        known = {_relative(out, root): out for stage in repo.index.stages for out in stage.outs}
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
    """The files that DVC's lock file has in an output, as far as the cache still lists them."""
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
    """A file's hash, as DVC reckons it; None where there is no file."""
    if not file.is_file():
        return None
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextmanager
def _repository(root: Path) -> Iterator[Any]:
    """DVC's view of the repository, to read only; its exceptions become GraphError.

    Nothing is written here, so DVC's locks are not taken: who looks neither waits for a run nor
    stops one, and leaves nothing behind when it is killed.
    """
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    from dvc.exceptions import DvcException
    from dvc.lock import LockNoop
    from dvc.repo import Repo

    for name in (GRAPH_FILE, LOCK):
        if has_conflict(root / name):
            raise GraphError(conflict_message(root / name))
    mend_lock(root)
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
    except (OSError, UnicodeError) as error:  # of a file that it hashes
        raise GraphError(f"DVC cannot read what the stages depend on: {error}") from error


@contextmanager
def _params_read_once() -> Iterator[None]:
    """Let DVC parse a params file once, and not once a stage: that is a third of its status."""
    from dvc.dependency import param

    parse, parsed = param.load_path, {}

    def load_path(path: str, fs: Any, **options: Any) -> Any:
        if path not in parsed:
            parsed[path] = parse(path, fs, **options)
        return parsed[path]

    param.load_path = load_path
    try:
        yield
    finally:
        param.load_path = parse


def _stage(node: Any, upstreams: set[str], root: Path) -> Stage:
    try:
        meta = bind(node.meta, f"dvc.yaml: stages.{node.name}.meta", StageMeta)
    except ParamsError as error:
        raise GraphError(str(error)) from error
    return Stage(
        name=node.addressing,
        command=str(node.cmd),
        deps=tuple(_relative(dep, root) for dep in node.deps if not hasattr(dep, "params")),
        params=tuple(key for dep in node.deps for key in getattr(dep, "params", ())),
        outs=tuple(_relative(out, root) for out in node.outs),
        upstreams=frozenset(upstreams),
        meta=meta,
        persists=any(out.persist for out in node.outs),
    )


def _relative(output: Any, root: Path) -> str:
    path = Path(output.fs_path)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _in_file_order(stages: list[Stage], position: Mapping[str, int]) -> dict[str, Stage]:
    """Topological order that follows the file where the graph leaves a choice."""
    depth: dict[str, int] = {}
    for stage in stages:
        depth[stage.name] = 1 + max((depth[name] for name in stage.upstreams), default=-1)
    ordered = sorted(stages, key=lambda s: (depth[s.name], position[s.name]))
    return {stage.name: stage for stage in ordered}


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
