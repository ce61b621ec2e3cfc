"""The four arms of the two-stage benchmark, on digits; its numbers are for whoever runs it."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from sklearn.datasets import load_digits

from benchmarks import two_stage
from benchmarks.two_stage_report import ONE, RANDOM, SHORT, TWO, report
from core.files import write_array, write_bytes, write_json
from core.schemas import LATENCY
from data.dataset import FILE, SCHEMA, Augment, DatasetInfo, images_file, labels_file
from devices.latency.table import LatencyTable
from models.nets.supernet import Supernet
from models.nets.weights import to_bytes
from models.space.space import SearchSpace
from tests.support import ROOT, merged

SPACE = """
name: tiny
sizes: [8, 64]
stem: {operator: conv, channels: 4, stride: 2, settings: {kernel: 3}}
stages:
  - {layers: 2, stride: 2, channels: [4, 8], skip: true, operators: {mbconv: {kernel: [3, 5], expansion: [2, 4]}}}
  - {layers: 2, stride: 1, channels: [8, 12], skip: true, operators: {mbconv: {kernel: [3, 5], expansion: [2, 4]}}}
head: {operator: classifier, settings: {width: 8}}
"""  # noqa: E501
BUDGET = 6000
CHANGES = {
    "search": {"fixed_samples": 2, "fitness_images": 50, "recalibration_batches": 1, "batch": 32},
    "supernet": {"batch": 16},
    "train": {"batch": 32, "recalibration_batches": 1},
    "devices": {"gpu": {"backend": "tensorrt", "budget": {"flops": BUDGET}, "min_accuracy": 0.1}},
}


@pytest.fixture
def release(tmp_path: Path) -> list[str]:
    """Flags of a tiny release's artifacts, as far as the benchmark reads them."""
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    kept = {name: section for name, section in params.items() if name in CHANGES}
    YAML().dump(merged(kept | {"devices": {}}, CHANGES), tmp_path / "params.yaml")
    (tmp_path / "space.yaml").write_text(SPACE)
    space = SearchSpace.load(tmp_path / "space.yaml", (1, 8, 8), 10)
    artifacts = tmp_path / "artifacts"
    write_digits(artifacts / "data")
    weights = to_bytes(Supernet(space, torch.Generator().manual_seed(0)))
    write_bytes(artifacts / "supernet" / "supernet.safetensors", weights)
    write_array(artifacts / "teacher" / "train_logits.npy", np.zeros((200, 10), np.float32))
    nothing = LatencyTable.unmeasured("gpu", "tensorrt")
    write_json(artifacts / "profile" / "gpu" / "latency.json", LATENCY, nothing.to_json())
    files = {"params": "params.yaml", "space": "space.yaml", "artifacts": "artifacts"}
    files |= {"work": "work", "json": "runs.json", "out": "search.md"}
    return [f"--{flag}={tmp_path / name}" for flag, name in files.items()]


def write_digits(folder: Path) -> None:
    digits = load_digits()
    for name, part in {
        "train": slice(200),
        "val": slice(200, 260),
        "test": slice(260, 360),
    }.items():
        images_NHWC = (digits.images[part, ..., None] * 15.9).astype(np.uint8)
        write_array(folder / images_file(name), images_NHWC)  # type: ignore[arg-type]
        labels_N = digits.target[part].astype(np.int64)
        write_array(folder / labels_file(name), labels_N)  # type: ignore[arg-type]
    names, augment = tuple(map(str, range(10))), Augment(flip=False, shift=0)
    sizes: dict[str, Any] = {"counts": {}, "source": {}, "arrays": {}, "fit": "pad"}
    info = DatasetInfo("digits", (1, 8, 8), names, (0.3,), (0.35,), augment=augment, **sizes)
    write_json(folder / FILE, SCHEMA, info.to_json())


def test_four_arms_are_found_within_the_budget_and_trained_and_kept(
    release: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["--device=gpu", "--seeds=0,1", "--draws=2", "--steps=10", "--evaluations=6"]
    monkeypatch.setattr(sys, "argv", ["two_stage", *release, *small, "--epochs=0.4"])
    two_stage.main()
    content = (tmp_path / "runs.json").read_bytes()
    runs = json.loads(content)["runs"]
    steps = {(run["arm"], run["seed"]): run["steps"] for run in runs}
    assert steps == {
        (arm, seed): count
        for arm, count in {ONE: 10, SHORT: 7, TWO: 7, RANDOM: 0}.items()
        for seed in (0, 1)
    }
    assert all(run["flops"] <= BUDGET and 0 <= run["accuracy"] <= 1 for run in runs)
    strangers = {run["architecture_id"] for run in runs if run["arm"] == RANDOM}
    assert len(strangers) > 1
    assert all(set(run["judged"]) == strangers for run in runs if run["arm"] in (ONE, SHORT))
    assert "Two stages against one" in (tmp_path / "search.md").read_text()

    monkeypatch.setattr(two_stage.Comparison, "learn", None)  # a second run trains no supernet
    two_stage.main()
    assert (tmp_path / "runs.json").read_bytes() == content


def invented(arm: str, seed: int, accuracy: float, name: str, judged: dict[str, float]) -> Any:
    return {
        "arm": arm,
        "seed": seed,
        "accuracy": accuracy,
        "architecture_id": name,
        "steps": {ONE: 600, SHORT: 418, TWO: 418, RANDOM: 0}[arm],
        "flops": round(1e8 * accuracy),
        "parameters": round(-1e6 * accuracy),
        "layers": round(100 * accuracy) % 5,
        "judged": judged,
    }


def test_the_report_pairs_seeds_and_says_how_far_supernets_are_trusted() -> None:
    right, wrong = {"a": 0.3, "b": 0.2, "c": 0.1, "d": 0.0}, {"a": 0, "b": 1, "c": 2, "d": 3}
    runs = [
        invented(arm, seed, base + 0.01 * seed, arm, judged)
        for arm, base, judged in ((ONE, 0.8, right), (SHORT, 0.7, wrong), (TWO, 0.9, {}))
        for seed in (0, 1)
    ]
    for name, seed, accuracy in (("a", 0, 0.5), ("b", 0, 0.6), ("c", 1, 0.62), ("d", 1, 0.7)):
        runs.append(invented(RANDOM, seed, accuracy, name, {}))
    args = argparse.Namespace(
        device="d", steps=600, seeds=[0, 1], epochs=0.5, evaluations=9, draws=2
    )
    text = report(runs, args)
    assert (
        "| two stages over one stage, short | +20.00 | 0.00 | +20.00 to +20.00 | better |" in text
    )
    assert "| one stage, short over one stage | -10.00 | 0.00 | -10.00 to -10.00 | worse |" in text
    assert "| one stage over random | +20.00 | 7.07 | -43.53 to +83.53 | undecided |" in text
    assert "| random | 0 | 4 | 60.5 ± 8.2 |" in text
    assert "| NLL of one stage (600 steps) | 1.00 ± 0.00 | 1.00 ± 0.00 | -1.00 ± 0.00 |" in text
    assert "| NLL of one stage, short (418 steps) | -1.00 ± 0.00 |" in text
    assert "| thousand parameters | -1.00 | -1.00 | 1.00 |" in text
