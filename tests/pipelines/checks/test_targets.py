"""Outdated latency tables and unreachable agents."""

import json
from pathlib import Path
from typing import Any

import pytest

from devices.device import Budget, Device, ImportedTable
from devices.measure.fingerprint import machine_state
from pipelines.checks.targets import place_problems, stale_tables
from pipelines.graph import Graph, Stage, StageMeta
from pipelines.plan import Plan

KINDS = ("profile", "quantize", "export", "bundle")


def device(**changes: Any) -> Device:
    return Device(
        **{"backend": "onnxruntime", "budget": Budget(latency_ms=1.0), "min_accuracy": 0.0}
        | changes
    )


def plan(*stale: str) -> Plan:
    stages = {
        f"{kind}@here": Stage(
            name=f"{kind}@here", command="", deps=(), params=(), outs=(f"out/{kind}",),
            upstreams=frozenset(), meta=StageMeta(),
        )
        for kind in KINDS
    }  # fmt: skip
    return Plan(Graph(stages), ("here",), {f"{kind}@here": ["why"] for kind in stale})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository whose device was measured with another version of the runtime."""
    machine = machine_state("onnxruntime", 1) | {"runtime_version": "0.1"}
    content = {"schema": "netwright/latency/1", "measured": True, "machine": machine}
    (tmp_path / "out/profile").mkdir(parents=True)
    (tmp_path / "out/profile/latency.json").write_text(json.dumps(content))
    return tmp_path


def test_a_table_of_another_runtime_is_stale_and_the_change_is_named(root: Path):
    found = stale_tables(root, {"here": device()}, plan())
    assert "runtime version was '0.1'" in found["here"]
    assert "netwright profile here" in found["here"]
    assert stale_tables(root, {"here": device()}, plan("profile")) == {}
    assert "session threads was 1 and is 2" in stale_tables(
        root, {"here": device(threads=2)}, plan()
    )["here"]  # fmt: skip


def test_a_stale_table_stops_a_run_only_if_a_stage_would_measure(root: Path):
    devices = {"here": device()}
    assert place_problems(root, devices, plan("bundle")) == []
    for kind in ("quantize", "export"):
        (problem,) = place_problems(root, devices, plan(kind))
        assert "not comparable" in problem
        # Measuring again, the fix, must not be refused.
        assert place_problems(root, devices, plan(kind), again="here") == []


def test_an_imported_table_is_of_another_machine_and_not_stale(root: Path):
    table = ImportedTable(file="t.csv", sha256="0" * 64)
    assert stale_tables(root, {"here": device(table=table)}, plan()) == {}
    (problem,) = place_problems(root, {"here": device(table=table)}, plan())
    assert "t.csv is missing" in problem


def test_an_agent_is_contacted_only_on_demand(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOKEN_OF_HERE", "x" * 20)
    devices = {"here": device(agent="127.0.0.1:1", agent_token_env="TOKEN_OF_HERE")}
    assert place_problems(root, devices, plan()) == []
    monkeypatch.delenv("TOKEN_OF_HERE")
    (problem,) = place_problems(root, devices, plan("profile"))
    assert "TOKEN_OF_HERE is not set" in problem
