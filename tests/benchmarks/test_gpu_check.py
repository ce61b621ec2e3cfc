"""Checks for a GPU: what they do without one, that they can fail, and what they claim."""

import re
import subprocess
from pathlib import Path

import pytest
import torch
from rich.console import Console

from benchmarks.gpu_check import child, engine, network
from benchmarks.gpu_check import supernet as supernets
from benchmarks.gpu_check.__main__ import find_gpu, main, marked, sentence, show
from benchmarks.gpu_check.checks import CHECKS, Check
from benchmarks.gpu_check.child import judge, run_check
from benchmarks.gpu_check.compare import STEPS, Trained, differences
from benchmarks.gpu_check.marks import OTHER_HARDWARE
from benchmarks.gpu_check.processes import check_processes
from benchmarks.gpu_check.record import Outcome, Report, Row, Value
from core.errors import UserError
from devices.runtimes.tensorrt.session import gpu_capability
from models.training.supernet.training import CPU
from tests.support import ROOT

MARKED = re.compile(r"unverified|\*\*not verified", re.IGNORECASE)
SEARCHED = ("core", "data", "models", "devices", "bundles", "stages", "pipelines", "docs")
without_gpu = pytest.mark.skipif(gpu_capability() is not None, reason="this machine has a GPU")


def row(status: str, *values: Value, name: str = "network", reason: str = "") -> Row:
    return Row(name=name, claim="", status=status, reason=reason, values=values, seconds=1.0)  # type: ignore[arg-type]


def test_every_mark_is_one_line_and_every_marked_line_has_a_mark() -> None:
    marks = {*OTHER_HARDWARE, *(mark for check in CHECKS.values() for mark in check.verifies)}
    assert {mark: len(mark.lines()) for mark in marks} == dict.fromkeys(marks, 1)
    known = {str(mark) for mark in marks}
    files = [ROOT / "params.yaml", *(p for room in SEARCHED for p in (ROOT / room).rglob("*"))]
    found = {
        f"{file.relative_to(ROOT)}:{number}"
        for file in files
        if file.suffix in {".py", ".md", ".yaml"} and "results" not in file.parts
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if MARKED.search(line)
    }
    assert found == known


def test_a_value_that_is_not_finite_or_over_its_limit_does_not_hold() -> None:
    assert Value.of("a", 1.0, 1.0).holds
    assert Value.of("a", 1e9).holds
    assert not Value.of("a", 1.01, 1.0).holds
    assert not Value.of("a", float("nan"), 1.0).holds
    assert str(Value.of("loss by", 2.0, 1.0)) == "loss by 2 (MORE THAN 1)"


def test_only_a_gpu_lets_a_check_pass() -> None:
    right, wrong = Value.of("a", 0, 0), Value.of("a", 1, 0)
    assert judge(Outcome(values=(right,)), "cuda") == ("passed", "")
    assert judge(Outcome(values=(right,)), "cpu")[0] == "not run"
    for kind in ("cuda", "cpu"):
        assert judge(Outcome(values=(right, wrong)), kind)[0] == "failed"
        assert judge(Outcome(), kind, "no driver") == ("failed", "no driver")
        assert judge(Outcome(skipped="not installed"), kind) == ("skipped", "not installed")


def test_a_mark_is_verified_by_all_its_checks_only() -> None:
    assert marked([row("not run", name=name) for name in CHECKS])["verified by this run"] == []
    everything = marked([row("passed", name=name) for name in CHECKS])
    assert everything["unverified"] == []
    one_missing = marked([row("passed", name=name) for name in CHECKS if name != "bfloat16"])
    left = {str(mark).partition(":")[0] for mark in one_missing["unverified"]}
    assert left == {"models/training/supernet/settings.py", "docs/settings.md"}


def test_the_last_sentence_counts() -> None:
    def report(gpu: str | None, *statuses: str) -> Report:
        return Report(gpu=gpu, versions={}, rows=tuple(row(status) for status in statuses))

    assert sentence(report(None, "not run", "skipped")) == "no NVIDIA GPU: 2 checks not run"
    assert sentence(report(None, "not run", "failed")).endswith("1 checks not run, 1 failed")
    assert sentence(report("A", "passed", "passed", "skipped")) == "2 passed, 1 skipped"


def test_the_table_shows_what_was_not_run_as_a_claim_alone() -> None:
    console = Console(record=True, width=200)
    rows = (row("not run", Value.of("loss by", 1e-9, 1e-8)),)
    show(Report(gpu=None, versions={}, rows=rows), console)
    text = console.export_text()
    assert "would show:" in text
    assert "loss by 1e-09 (at most 1e-08)" in text
    assert "passed" not in text
    assert "verified by this run" not in text


def test_a_gpu_that_torch_cannot_use_is_an_error() -> None:
    assert find_gpu(None, usable=False) is None
    with pytest.raises(UserError, match=r"NVIDIA GPU \(SM75\).*install a driver for CUDA"):
        find_gpu("SM75", usable=False)


def test_a_perturbed_weight_fails() -> None:
    start, end = {"w": torch.zeros(4)}, {"w": torch.ones(4)}
    whole = Trained(start, end, [2.0])
    assert all(value.holds for value in differences(whole, whole, torch.float64))
    other = Trained(start, {"w": torch.tensor([1.0, 1.0, 1.0, 1.001])}, [2.0])
    loss, weights = differences(whole, other, torch.float64)
    assert loss.holds
    assert weights.value == pytest.approx(0.0005, rel=1e-3)
    assert not weights.holds


@pytest.mark.slow
def test_a_training_with_one_changed_weight_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STEPS, torch.float64, 1)  # type: ignore[arg-type]
    monkeypatch.delitem(STEPS, torch.float32)  # type: ignore[arg-type]
    assert judge(supernets.check_strategy("bn_only", CPU), "cuda")[0] == "passed"
    calls: list[None] = []

    def perturb(module: torch.nn.Module, kind: torch.dtype) -> None:
        calls.append(None)
        if len(calls) > 1:  # only the training that stands for the GPU's
            with torch.no_grad():
                next(module.parameters())[0] += 1e-3

    monkeypatch.setattr(supernets, "cast_inputs", cast_then(perturb, supernets.cast_inputs))
    status, reason = judge(supernets.check_strategy("bn_only", CPU), "cuda")
    assert status == "failed"
    assert "MORE THAN" in reason


def cast_then(first, second):  # type: ignore[no-untyped-def]
    def both(module: torch.nn.Module, kind: torch.dtype) -> None:
        first(module, kind)
        second(module, kind)

    return both


@pytest.mark.slow
def test_the_halves_of_the_network_checks_hold_on_a_cpu() -> None:
    for check in (network.check_network, network.check_repeats):
        outcome = check(CPU)
        assert judge(outcome, "cpu")[0] == "not run", outcome


@pytest.mark.slow
def test_a_group_of_one_process_learns_what_none_learns() -> None:
    count, *found = check_processes(CPU).values
    assert count.value == 1
    assert all(value.holds and value.limit is not None for value in found)


@without_gpu
@pytest.mark.slow
def test_engines_are_built_without_a_gpu_and_nothing_else_is_said() -> None:
    outcome = engine.check_rtx(CPU)
    assert [value.what for value in outcome.values] == [
        f"{precision}: layers" for precision in ("float32", "float16", "int8")
    ]
    assert all(value.value for value in outcome.values)


@without_gpu
@pytest.mark.slow
def test_a_check_runs_in_its_own_process_and_its_error_fails_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = run_check("speed", "cuda")  # no GPU: torch raises
    assert failed.status == "failed"
    assert "needs 1 GPU" in failed.reason
    out = tmp_path / "report.json"
    monkeypatch.setattr("sys.argv", ["gpu_check", "tensorrt", "--out", str(out)])
    assert main() == 0
    assert capsys.readouterr().out.splitlines()[-2] == "no NVIDIA GPU: 1 checks not run"
    report = Report.read(out)
    assert report.gpu is None
    assert [one.status for one in report.rows] == ["skipped"]


def test_a_failed_check_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str, kind: str) -> Row:
        status, reason = judge(Outcome(values=(Value.of("loss", 1.0, 0.0),)), kind)
        return row(status, name=name, reason=reason)

    monkeypatch.setattr("benchmarks.gpu_check.__main__.run_check", fails)
    monkeypatch.setattr("benchmarks.gpu_check.__main__.find_gpu", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["gpu_check", "network"])
    assert main() == 1


def test_a_check_that_takes_too_long_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(child.CHECKS, "speed", Check("", lambda _: Outcome(), (), 0.01))  # type: ignore[index]
    assert run_check("speed", "cpu").reason == "it took more than 0.01 s"


def test_the_target_of_make_runs_it() -> None:
    shown = subprocess.run(
        ["make", "--dry-run", "gpu-check"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "python -m benchmarks.gpu_check" in shown.stdout
