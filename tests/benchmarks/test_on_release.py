"""Smoke tests: the benchmarks that read a finished release, at toy size."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.baselines.world import World
from benchmarks.harness.release import Release
from benchmarks.quantize import __main__ as quantize
from benchmarks.ranking import supernet
from benchmarks.ranking.report import report
from benchmarks.ranking.truth import RankingParams, ground_truth
from tests.benchmarks.conftest import BUDGET, write_digits

pytestmark = pytest.mark.slow


@pytest.fixture
def run(
    release_flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, Any]]:
    """Runs a benchmark; returns its page, and its runs by name."""

    def run_benchmark(name: str, *flags: str) -> tuple[str, Any]:
        files = {"work": "work", "out": "page.md"}
        given = [f"--{flag}={tmp_path / file}" for flag, file in files.items()]
        monkeypatch.setattr("sys.argv", [name, *release_flags, *given, *flags])
        importlib.import_module(f"benchmarks.{name}.__main__").main()
        runs = sorted((tmp_path / "work").glob("*/*.json"))
        content = {file.stem: json.loads(file.read_text()) for file in runs}
        return (tmp_path / "page.md").read_text(), content

    return run_benchmark


def test_distil(run: Callable[..., tuple[str, Any]]) -> None:
    page, _ = run("distil", "accuracy", "--seeds=2", "--epochs=0.3")
    assert "| slice, teacher over scratch, teacher |" in page
    assert page.count("| scratch, no teacher |") == 1


def test_search(run: Callable[..., tuple[str, Any]]) -> None:
    small = ("--algorithms=parsec,fp_nas", "--seeds=2", "--epochs=0.2")
    page, content = run("search", *small)
    by = {one["algorithm"]: one for one in content.values() if "algorithm" in one}
    assert all(one["flops"] <= BUDGET for one in by.values())
    trained = [one["accuracy"] for name, one in content.items() if name.startswith("train")]
    assert trained
    assert all(0 <= accuracy <= 1 for accuracy in trained)
    most = max(by["parsec"]["evaluated"], by["fp_nas"]["evaluated"])
    assert most - 4 <= by["random"]["evaluated"] <= most
    assert page.count("| `parsec` |") == 3
    assert run("search", *small) == (page, content)


def test_baselines(run: Callable[..., tuple[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "_measure", lambda self, entrant: 2.0)  # too slow at any width
    page, _ = run("baselines", "--random=0", "--seeds=2", "--epochs=0.2")
    assert page.count("| 0.05 | 2.000 |") == 4
    assert page.count("| searched over mobilenet") == 4
    monkeypatch.setattr(Release, "train", None)
    assert run("baselines", "--random=0", "--seeds=2", "--epochs=0.2")[0] == page


def test_quantize(
    release_flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    given = [flag for flag in release_flags if flag.startswith(("--artifacts", "--params"))]
    given.append(f"--out={page}")
    small = ["--no-latency", "--only", "gpu", "--runtimes", "onnxruntime"]
    monkeypatch.setattr("sys.argv", ["quantize", *given, *small])
    quantize.main()
    text = page.read_text()
    assert "| gpu | onnxruntime | float32 |" in text
    assert "| gpu | onnxruntime | int8 " in text
    assert "- gpu loses of top-1 in int8:" in text


def test_ranking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few: dict[str, Any] = {
        "BLOCKS": 2,
        "STEPS": 1,
        "PROBE_IMAGES": supernet.EVAL_BATCH,
        "SHARES": (1.0,),
    }
    few |= {"STRATEGIES": {name: supernet.STRATEGIES[name] for name in ("spos", "pi")}}
    for name, value in few.items():
        monkeypatch.setattr(supernet, name, value)
    write_digits(tmp_path / "data", size=4)
    params = RankingParams(
        architectures=4,
        truth_epochs=0.1,
        truth_threads=1,
        batch=32,
        learning_rate=0.1,
        recalibration_batches=1,
        supernet_seconds=0.001,
        supernet_threads=1,
        bootstrap=20,
    )
    data = tmp_path / "data"
    truths = [ground_truth(data, params, seed, tmp_path / "work")["rows"] for seed in (0, 1)]
    timing = supernet.time_steps(data, params)
    assert {row["steps"] for row in timing["strategies"].values()} == {10}  # the least
    runs = [
        supernet.score_networks(data, params, timing, name, 0.1, 1.0) for name in ("spos", "pi")
    ]
    sections = report(truths, runs, params.bootstrap)
    assert sections["Ground truth"].startswith("4 architectures, accuracies")
    assert sections["Supernets at equal wall time"].count("| `pi` | 0.1 |") == 1
