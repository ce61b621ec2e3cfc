"""Smoke tests: the benchmarks that read a finished release, at toy size."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.conftest import BUDGET

pytestmark = pytest.mark.slow


@pytest.fixture
def run(
    release_flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, Any]]:
    """Runs a benchmark; returns its page and its JSON, if it writes one."""

    def run_benchmark(name: str, *flags: str) -> tuple[str, Any]:
        files = {"work": "work", "out": "page.md"} | ({} if name == "distil" else {"json": "j"})
        given = [f"--{flag}={tmp_path / file}" for flag, file in files.items()]
        monkeypatch.setattr("sys.argv", [name, *release_flags, *given, *flags])
        importlib.import_module(f"benchmarks.{name}.__main__").main()
        content = json.loads((tmp_path / "j").read_text()) if "json" in files else None
        return (tmp_path / "page.md").read_text(), content

    return run_benchmark


def test_distil(run: Callable[..., tuple[str, Any]]) -> None:
    page, _ = run("distil", "accuracy", "--seeds=2", "--epochs=0.3")
    assert "| slice, teacher over scratch, teacher |" in page
    assert page.count("| scratch, no teacher |") == 1


def test_search(run: Callable[..., tuple[str, Any]]) -> None:
    small = ("--algorithms=parsec,fp_nas", "--seeds=2", "--epochs=0.2")
    page, content = run("search", *small)
    assert all(one["flops"] <= BUDGET and 0 <= one["accuracy"] <= 1 for one in content["runs"])
    by = {one["algorithm"]: one for one in content["runs"]}
    assert by["random"]["sampled"] >= max(by["parsec"]["sampled"], by["fp_nas"]["sampled"])
    assert page.count("| `parsec` |") == 3
    assert run("search", *small) == (page, content)


def test_transfer(run: Callable[..., tuple[str, Any]]) -> None:
    small = ("--algorithms=fp_nas", "--seeds=0,1", "--share=0.5", "--epochs=1")
    page, content = run("transfer", *small)
    for seed in content["seeds"]:
        runs = seed["runs"]
        assert [look["step"] for look in runs["fp_nas uniform"]["looks"]] == [0, 5, 6]
        assert all(look["flops"] <= BUDGET for one in runs.values() for look in one["looks"])
        entropies = [one["looks"][0]["entropy"] for name, one in runs.items() if "fp" in name]
        assert all(one != pytest.approx(entropies[0]) for one in entropies[1:])
        assert seed["small"]["fp_nas"]["costs"]["macs"] == 0
        # Half the steps, on maps of a quarter of the size; the last layer has none to shrink.
        assert 0.1 < seed["small_training_macs"] * 4 / content["training_macs"] < 1.5
    assert "`transferred` over `costs`" in page
    assert "small supernet, trained" in page


def test_two_stage(run: Callable[..., tuple[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("--seeds=0,1", "--draws=2", "--steps=10", "--evaluations=6", "--epochs=0.4")
    page, content = run("two_stage", *small)
    runs = content["runs"]
    assert {(one["arm"], one["steps"]) for one in runs} == {
        ("one stage", 10),
        ("one stage, short", 7),
        ("two stages", 7),
        ("random", 0),
    }
    assert all(one["flops"] <= BUDGET and 0 <= one["accuracy"] <= 1 for one in runs)
    strangers = {one["architecture_id"] for one in runs if one["arm"] == "random"}
    assert len(strangers) > 1
    assert all(set(one["judged"]) == strangers for one in runs if "judged" in one)
    monkeypatch.setattr("benchmarks.two_stage.__main__.Comparison.learn", None)
    assert run("two_stage", *small) == (page, content)  # a second run trains no supernet
