"""Data-parallel training of one network in two processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.settings import ParamsError, read_section
from models.training.settings import TrainParams

CHANGES = {"epochs": 0.3, "learning_rate": 0.02, "mixup_alpha": 0.4, "soft_labels": "live"}


@pytest.mark.slow
def test_two_processes_train_what_one_does(
    world, supernet: Path, teacher: Path, chosen: Path, tmp_path: Path
) -> None:
    alone = world.run("train", tmp_path / "alone", params=world.params("alone", train=CHANGES))
    params = world.params("two", train={**CHANGES, "processes": 2})
    both = tmp_path / "both"
    command = [sys.executable, "-m", "stages", "train"]
    subprocess.run([*command, *world.arguments("train", both, params=params)], check=True)
    rows = [json.loads((f / "history.json").read_text())["steps"] for f in (alone, both)]
    assert len(rows[0]) == len(rows[1])
    for mine, other in zip(*rows, strict=True):
        assert other["loss"] == pytest.approx(mine["loss"], rel=1e-3)
    weights, others = (load_file(f / "model.safetensors") for f in (alone, both))
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, rtol=1e-2, atol=1e-3, msg=name)


def test_a_batch_without_equal_shares_is_refused(world) -> None:
    params = world.params("five", train={"processes": 5})
    with pytest.raises(ParamsError, match=r"train.processes: a batch of 32 images cannot"):
        read_section(params, "train", TrainParams)
