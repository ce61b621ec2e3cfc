"""Data-parallel training of one network in two processes."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file

from core.settings import ParamsError, read_section
from models.search.choice import Choice
from models.training.history import History
from models.training.settings import TrainParams

STEPS = 11
CHANGES = {
    "epochs": 0.3,
    "learning_rate": 0.02,
    "mixup_alpha": 0.4,
    "soft_labels": "live",
    "checkpoint_every": 1,
}


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_resume_to_the_same_bytes(
    world, supernet: Path, teacher: Path, chosen: Path, tmp_path: Path
) -> None:
    network = Choice.read(chosen).architecture
    alone = world.finish(world.params("alone", train=CHANGES), network, tmp_path / "alone")
    params = world.params("two", train={**CHANGES, "processes": 2})
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    command = [sys.executable, "-m", "stages", "train"]
    inputs = {"params": params, "race": tmp_path / "alone"}
    process = subprocess.Popen([*command, *world.arguments("train", whole, **inputs)])
    catch_checkpoint(process, tmp_path / ".whole.partial", tmp_path / ".resumed.partial")
    assert process.wait() == 0

    rows = [alone.history.steps, History.read(whole).steps]
    assert len(rows[0]) == len(rows[1])
    for mine, other in zip(*rows, strict=True):
        assert other["loss"] == pytest.approx(mine["loss"], rel=1e-3)
    weights, others = load(alone.weights), load_file(whole / "model.safetensors")
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, rtol=1e-2, atol=1e-3, msg=name)

    command += world.arguments("train", resumed, **inputs)
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "progress 1/" not in again.stdout  # it did not start from the beginning
    assert f"progress {STEPS}/{STEPS} epoch={STEPS / 37:.4g}" in again.stdout
    for file in whole.iterdir():
        assert file.read_bytes() == (resumed / file.name).read_bytes(), file.name


def catch_checkpoint(process: subprocess.Popen[bytes], source: Path, target: Path) -> None:
    """Take what a running stage has saved in its middle, as a kill would leave it."""
    deadline = time.monotonic() + 120
    while not (source / "state.pt").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.002)
    target.mkdir()
    shutil.copyfile(source / "state.pt", target / "state.pt")
    state = torch.load(target / "state.pt", weights_only=True)["state"]
    assert state["step"] < STEPS


def test_a_batch_without_equal_shares_is_refused(world) -> None:
    params = world.params("five", train={"processes": 5})
    with pytest.raises(ParamsError, match=r"train.processes: a batch of 32 images cannot"):
        read_section(params, "train", TrainParams)
