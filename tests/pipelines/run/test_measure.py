"""Repeated measurement of a device, on the toy repository."""

import io
import json

import pytest
from rich.console import Console

from devices.latency.table import Correction, HeldOut, LatencyTable
from devices.measure.reference import LATENCY
from pipelines.plan import make_plan
from pipelines.run.execute import RunFailedError
from pipelines.run.measure import remeasure
from tests.support import Repository

STAGE = """
  profile:
    foreach: ${devices}
    do:
      cmd: sh profile.sh ${key}
      deps: [out/source]
      outs: ["out/profile/${key}"]
"""
SCRIPT = """
mkdir -p out/profile/$1; cp table.json out/profile/$1/latency.json
if [ -e noisy ]; then echo "error: the blocks differ too much." >&2; exit 1; fi
"""


@pytest.fixture
def profiled(toy: Repository) -> Repository:
    """The toy repository after one measurement of a device."""
    with (toy.root / "dvc.yaml").open("a") as file:
        file.write(STAGE)
    (toy.root / "profile.sh").write_text(SCRIPT)
    write_table(toy, 1.0)
    code, output = toy.dvc("repro", "--quiet", "profile@a")
    assert code == 0, output
    return toy


def write_table(toy: Repository, block_ms: float) -> None:
    """Write the result of the next measurement."""
    table = LatencyTable(
        "a", "onnxruntime", {"block": block_ms}, {"block": 1},
        {"float32": Correction(1.0, 0.0, 0.0, 0.0)},
        {"float32": HeldOut(0.034, 0.75, 1.0, ((1.0, 1.034), (2.0, 2.0)))},
    )  # fmt: skip
    (toy.root / "table.json").write_text(json.dumps({"schema": LATENCY, **table.to_json()}))


def measure_again(toy: Repository) -> str:
    """Measure device `a`; returns the output."""
    shown = io.StringIO()
    remeasure(Console(file=shown, width=120), toy.root, make_plan(toy.root), "a")
    return shown.getvalue()


@pytest.mark.slow
def test_a_new_measurement_replaces_the_table_and_its_error_is_shown(profiled: Repository):
    write_table(profiled, 2.0)
    shown = measure_again(profiled)
    table = json.loads((profiled.root / "out/profile/a/latency.json").read_text())
    assert table["block_ms"] == {"block": 2.0}
    for words in ("held-out networks", "float32", "3.4%", "75%", "100%"):
        assert words in shown


@pytest.mark.slow
def test_a_refused_measurement_keeps_the_table_from_before(profiled: Repository):
    file = profiled.root / "out/profile/a/latency.json"
    before = file.read_bytes()
    write_table(profiled, 2.0)
    (profiled.root / "noisy").touch()
    with pytest.raises(RunFailedError, match="the blocks differ too much"):
        measure_again(profiled)
    assert file.read_bytes() == before
    assert not list((profiled.root / ".netwright").glob("kept-*"))
    assert "profile@a" not in make_plan(profiled.root).stale
