"""The plan of a run: the requested devices and the stale stages, with the reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import nearest
from pipelines.graph import Graph, GraphError, build_graph, open_repository, own_stages

GATE = "release"
"""The stage that collects all bundles."""
REPORT = "report.html"
"""Name of the release report, in the output of that stage."""
NEVER = "has never run"


@dataclass(frozen=True)
class Plan:
    """The stages that a run of these devices would execute, in order, with the reasons."""

    graph: Graph
    devices: tuple[str, ...]
    stale: Mapping[str, list[str]]


def make_plan(root: Path) -> Plan:
    """Find the stale stages of all devices; GraphError if DVC cannot read the repository.

    Stages downstream of a stale one are included; DVC skips them at run time if their inputs turn
    out to be unchanged.
    """
    with open_repository(root) as repo:
        graph = build_graph(repo, root)
        return Plan(graph, graph.devices, _find_stale(repo, graph))


def restrict_to_devices(plan: Plan, devices: Sequence[str]) -> Plan:
    """Restrict a full plan to the stages that some devices need; all if there are none.

    Stages of the others are left out, and so is the release, unless every other bundle is up to
    date. Raises GraphError if a device is unknown.
    """
    graph = plan.graph
    check_devices(graph, devices)
    if not devices:
        return plan
    chosen = tuple(name for name in graph.devices if name in devices)
    bundles = [f"bundle@{name}" for name in chosen]
    wanted = graph.with_ancestors(bundles)
    if not (graph[GATE].upstreams - set(bundles)) & plan.stale.keys():
        wanted |= {GATE}
    return Plan(graph, chosen, {name: why for name, why in plan.stale.items() if name in wanted})


def check_devices(graph: Graph, devices: Sequence[str]) -> None:
    """Raise GraphError if a device is unknown; the message has the nearest name."""
    for name in devices:
        if name not in graph.devices:
            raise GraphError(f"params.yaml has no device '{name}'.{nearest(name, graph.devices)}")


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
