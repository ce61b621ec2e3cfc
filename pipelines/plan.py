"""What a run would do: the stages asked for, and which of them are stale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.graph import Graph, GraphError, read_state
from stages.common.params import nearest

GATE = "release"
"""The stage that judges all bundles together."""
REPORT = "report.html"
"""The page about the release, beside the output of that stage."""


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        graph: all stages.
        devices: those asked for.
        stale: the stages to run, in order, and why.
    """

    graph: Graph
    devices: tuple[str, ...]
    stale: Mapping[str, list[str]]


def make_plan(root: Path, devices: Sequence[str] = ()) -> Plan:
    """Find the stale stages that the devices need.

    With some devices only, the other branches are left as they are, and so is the release,
    unless every other bundle is up to date.

    Args:
        root: the repository.
        devices: names of devices; empty: everything.

    Raises:
        GraphError: a device is unknown, or the graph cannot be read.
    """
    graph, all_stale = read_state(root)
    return narrow(Plan(graph, graph.devices, all_stale), devices)


def narrow(plan: Plan, devices: Sequence[str]) -> Plan:
    """The part of a plan for everything that some devices need.

    Args:
        plan: for everything.
        devices: names of devices; empty: everything.

    Raises:
        GraphError: a device is unknown.
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
    """Refuse unknown devices.

    Raises:
        GraphError: the message has the nearest name.
    """
    for name in devices:
        if name not in graph.devices:
            raise GraphError(f"params.yaml has no device '{name}'.{nearest(name, graph.devices)}")
