"""Strategies, processes and the rest of the supernet's settings, through the stage."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from core.errors import UserError
from core.settings import ParamsError
from models.nets.evaluate import recalibrate
from models.nets.supernet import Supernet, extract
from models.nets.weights import load_into
from models.training.learning import Images

pytestmark = pytest.mark.slow
SHORT = {"epochs": 0.2, "learning_rate": 0.02, "report_subnets": 0}


def history(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "history.json").read_text()))


def test_without_labels_a_linear_probe_judges_better_features(
    world, shifted: Path, tmp_path: Path
) -> None:
    """The supernet of `pi` has better features than random ones."""
    accuracies = []
    for rate in (1e-9, 0.1):
        changes = {"strategy": "pi", "learning_rate": rate, "report_images": 300}
        params = world.params("pi", supernet={**changes, "report_subnets": 6})
        out = world.run("supernet", tmp_path / f"{rate}", params=params, data=shifted)
        load_into(Supernet(world.space), out / "supernet.safetensors")
        assert history(out)["judge"] == "linear probe"
        accuracies.append([row["val_accuracy"] for row in history(out)["subnets"]])
    untrained, trained = (sum(rows) / len(rows) for rows in accuracies)
    assert trained > untrained + 0.03


def test_after_a_training_without_labels_the_classifier_knows_them(
    world, shifted: Path, tmp_path: Path
) -> None:
    """Search and ranking need logits, also after `pi`."""
    strategy = {"name": "pi", "classifier_epochs": 3.0}
    changes = {"strategy": strategy, "learning_rate": 0.1}
    params = world.params("pi", supernet=changes)
    out = world.run("supernet", tmp_path / "pi", params=params, data=shifted)
    supernet = Supernet(world.space)
    load_into(supernet, out / "supernet.safetensors")
    images = Images.read(world.root / "data")
    calibration = images.calibration(4, 64, 0)
    rng = np.random.default_rng(0)
    for _ in range(3):
        subnet = extract(supernet, world.space.sample(rng))
        recalibrate(subnet, calibration)
        assert images.accuracy(subnet, "val") > 0.4


def test_two_equal_views_are_refused_before_the_training(world, tmp_path: Path) -> None:
    params = world.params("equal", supernet={"strategy": "pi"})
    with pytest.raises(UserError, match=r"'pi' compares two views.*data.augment.shift") as refusal:
        world.run("supernet", tmp_path / "out", params=params)
    assert "shift: 0) they are the same in 100% of the steps" in str(refusal.value)
    assert [*tmp_path.iterdir()] == []


def test_a_strategy_that_reads_labels_is_judged_by_its_classifier(supernet: Path) -> None:
    assert history(supernet)["judge"] == "classifier"
    assert history(supernet)["strategy"] == "spos"


def test_layout_and_precision_change_rounding_alone(world, supernet: Path, tmp_path: Path) -> None:
    losses = []
    for name, changes in {
        "usual": {},
        "contiguous": {"channels_last": False},
        "bfloat16": {"precision": "bfloat16"},
    }.items():
        params = world.params(name, supernet={**SHORT, **changes})
        out = world.run("supernet", tmp_path / name, params=params)
        losses.append(history(out)["steps"][0]["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=2e-2)
    assert losses[2] != losses[0]


def test_parts_of_a_batch_need_less_memory(world, tmp_path: Path) -> None:
    peaks = []
    for count in (1, 4):
        params = world.params(f"parts-{count}", supernet={**SHORT, "accumulate": count})
        out = world.run("supernet", tmp_path / f"{count}", params=params)
        peaks.append(history(out)["peak_step_bytes"])
    # Activations shrink fourfold; weights and gradients, half of a small path's peak, stay.
    assert peaks[1] < 0.6 * peaks[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulate": 5}, "supernet.accumulate: a batch of 32 images cannot be divided into 5"),
        ({"processes": 3}, "supernet.processes: a batch of 32 images cannot be divided into 3"),
        ({"processes": 4, "accumulate": 8}, "supernet.accumulate: .* into 32 equal parts"),
        ({"strategy": {"name": "pi", "temprature": 0.1}}, "strategy.temprature: .*'temperature'"),
        ({"strategy": {"name": "pi", "teacher_decay": 1.0}}, "supernet.strategy.teacher_decay: "),
        ({"pi": {"queue": 9}}, "supernet.pi: moved to supernet.strategy: {name: pi, ...}"),
        ({"precision": "float16"}, "supernet.precision: .*'float32' or 'bfloat16'"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(
    world, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    params = world.params("wrong", supernet=changes)
    with pytest.raises(ParamsError, match=message):
        world.run("supernet", tmp_path / "out", params=params)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has GPUs")
def test_graphics_cards_that_are_not_there_are_asked_for_in_vain(world, tmp_path: Path) -> None:
    params = world.params("cuda", supernet={"device": "cuda"})
    with pytest.raises(ParamsError, match=r"needs 1 GPU.*finds 0"):
        world.run("supernet", tmp_path / "out", params=params)


def test_the_stage_starts_its_processes_itself_and_they_die_with_it(world, tmp_path: Path) -> None:
    """Killed in the middle, continued, and the same to rounding as one process."""
    one = world.run("supernet", tmp_path / "one", params=world.params("one", supernet=SHORT))
    changes = {**SHORT, "processes": 2, "checkpoint_every": 1}
    out, params = tmp_path / "two", world.params("two", supernet=changes)
    command = [sys.executable, "-m", "stages", "supernet"]
    command += world.arguments("supernet", out, params=params)
    first = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    saved, deadline = tmp_path / ".two.partial" / "state.pt", time.monotonic() + 120
    while not saved.exists() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    children = psutil.Process(first.pid).children(recursive=True)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert len(children) >= 2
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    assert saved.exists()

    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "progress 1/" not in again.stdout
    assert again.stdout.count("progress 7/7") == 1  # one process speaks for both
    alone, together = (load_file(folder / "supernet.safetensors") for folder in (one, out))
    assert alone.keys() == together.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-3, atol=1e-4)
    assert history(out)["steps"][-1]["loss"] == pytest.approx(
        history(one)["steps"][-1]["loss"], abs=1e-3
    )
