"""The stage graph, read from `dvc.yaml` through DVC, and its stale stages.

DVC's Python API below `Repo.status` is not public. Only this module uses it; DVC's version is
pinned.
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

from core.settings import Params, ParamsError, bind, nearest
from core.yaml_file import conflict_message, has_conflict
from pipelines.repair import LOCK, repair_lock

GRAPH_FILE = "dvc.yaml"
PARAMS = "params.yaml"
NEVER = "has never run"


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
    """One node of the graph.

    Attributes:
        name: DVC's address, such as `train@edge-cpu`.
        command: its shell command.
        deps: files and folders it reads, from the repository's root.
        params: keys of params.yaml that it reads.
        outs: files and folders it writes.
        upstreams: names of the stages whose outs it reads.
        meta: how to run it.
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
        "Run the command inside the cloned folder."
    )


def read_graph(root: Path) -> Graph:
    """Read the graph of the repository at `root`.

    Raises:
        GraphError: DVC refuses `dvc.yaml`, or a stage's `meta` has an unknown key.
    """
    with _open_repo(root) as repo:
        return _build_graph(repo, root)


def find_stale(root: Path, graph: Graph) -> dict[str, list[str]]:
    """The stages that would run, in order, with the reasons.

    Stages downstream of a stale one are included; DVC skips them at run time if their inputs turn
    out to be unchanged.

    Raises:
        GraphError: DVC fails.
    """
    with _open_repo(root) as repo:
        return _find_stale(repo, graph)


def read_state(root: Path) -> tuple[Graph, dict[str, list[str]]]:
    """The graph and its stale stages, with one opening of DVC's repository.

    Raises:
        GraphError: see `read_graph` and `stale`.
    """
    with _open_repo(root) as repo:
        graph = _build_graph(repo, root)
        return graph, _find_stale(repo, graph)


def cache_folder(root: Path) -> Path:
    """DVC's object cache of this repository.

    Raises:
        GraphError: DVC fails.
    """
    with _open_repo(root) as repo:
        return Path(repo.cache.local.path)


def _build_graph(repo: Any, root: Path) -> Graph:
    import networkx as nx

    ours = _own_stages(repo)
    # From a stage to the stages it reads from.
    edges = repo.index.graph.subgraph(ours)
    order = list(nx.topological_sort(edges.reverse(copy=False)))
    position = {stage.addressing: number for number, stage in enumerate(ours)}
    stages = [_stage(node, {n.addressing for n in edges.successors(node)}, root) for node in order]
    return Graph(_sort_stages(stages, position))


def _own_stages(repo: Any) -> list[Any]:
    """DVC's stages of the root's `dvc.yaml`; those of other files (benchmarks) are left out."""
    return [stage for stage in repo.index.stages if stage.path_in_repo == GRAPH_FILE]


def _find_stale(repo: Any, graph: Graph) -> dict[str, list[str]]:
    # `repo.status` would parse dvc.yaml and dvc.lock again.
    status: dict[str, list[Any]] = {}
    with repo.lock:
        for stage in _own_stages(repo):
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
    with _open_repo(root) as repo:
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


@contextmanager
def _open_repo(root: Path) -> Iterator[Any]:
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


def _sort_stages(stages: list[Stage], position: Mapping[str, int]) -> dict[str, Stage]:
    """Topological order; ties are in the order of the file."""
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
