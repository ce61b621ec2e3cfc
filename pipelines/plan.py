"""The plan of a run: the requested devices and the stale stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.settings import nearest
from pipelines.graph import Graph, GraphError
from pipelines.staleness import read_state

GATE = "release"
"""The stage that collects all bundles."""
REPORT = "report.html"
"""Name of the release report, in the output of that stage."""


@dataclass(frozen=True)
class Plan:
    """The stages that a run would execute.

    Attributes:
        graph: all stages.
        devices: the requested devices.
        stale: the stages to run, in order, with the reasons.
    """

    graph: Graph
    devices: tuple[str, ...]
    stale: Mapping[str, list[str]]


def make_plan(root: Path) -> Plan:
    """Find the stale stages of all devices.

    Raises:
        GraphError: the graph cannot be read.
    """
    graph, stale = read_state(root)
    return Plan(graph, graph.devices, stale)


def restrict_to_devices(plan: Plan, devices: Sequence[str]) -> Plan:
    """Restrict a full plan to the stages that some devices need.

    Stages of the others are left out, and so is the release, unless every other bundle is up to
    date.

    Args:
        plan: the full plan.
        devices: names of devices; empty: all.

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
    """Check that all devices are known.

    Raises:
        GraphError: a device is unknown; the message has the nearest name.
    """
    for name in devices:
        if name not in graph.devices:
            raise GraphError(f"params.yaml has no device '{name}'.{nearest(name, graph.devices)}")
