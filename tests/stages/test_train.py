import json
import shutil
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
import torch

from core.files import FileFormatError
from data.dataset import DatasetInfo, read_split
from data.stream import eval_batches
from models.nets.equivalence import EquivalenceError
from models.nets.evaluate import accuracy
from models.nets.subnet import Subnet
from models.nets.supernet import extract
from models.nets.weights import load_into
from models.space.architecture import Architecture


@pytest.fixture(scope="module")
def trained(world, supernet: Path, teacher: Path, chosen: Path) -> Path:
    return world.run("train", world.root / "train")


@pytest.mark.slow
def test_the_written_network_has_the_written_accuracy(world, trained: Path) -> None:
    summary = json.loads((trained / "train.json").read_text())
    content = json.loads((trained / "architecture.json").read_text())
    network = Subnet(Architecture.from_json(content)).eval()
    load_into(network, trained / "model.safetensors")
    info = DatasetInfo.read(world.root / "data")
    for name in ("val", "test"):
        split = read_split(world.root / "data", name)
        found = accuracy(network, eval_batches(split, info, 100))
        assert found == pytest.approx(summary["accuracy"][name], abs=1e-6)
        assert found > 0.8


def test_the_slice_is_what_the_supernet_computes(trained: Path) -> None:
    hop = json.loads((trained / "train.json").read_text())["slice"]
    assert hop["max_difference"] < 1e-4
    assert hop["agreement"] == 1
    assert hop["images"] == 99  # every third of the 297
    assert hop["accuracy"] == hop["accuracy_before"] > 0.1
    assert hop["limit"] == {"max_difference": ANY, "agreement": 0.99, "accuracy_drop": 0.01}
    assert hop["passed"] is True


def test_a_slice_that_is_another_network_fails_the_stage_by_the_hops_name(
    world, trained: Path, tmp_path: Path, monkeypatch
) -> None:
    def wrong(supernet, architecture):
        subnet = extract(supernet, architecture)
        with torch.no_grad():
            next(subnet.parameters()).mul_(1.5)
        return subnet

    monkeypatch.setattr("stages.train.extract", wrong)
    with pytest.raises(
        EquivalenceError, match=r"from supernet slice to subnet.*Run the stage supernet"
    ):
        world.run("train", tmp_path / "train")
    assert not (tmp_path / "train").exists()


def test_a_start_from_random_weights_gives_another_network(
    world, trained: Path, tmp_path: Path
) -> None:
    params = world.params("scratch", train={"slice_share": 0.0})
    scratch = world.run("train", tmp_path / "train", params=params)
    first, second = (f / "model.safetensors" for f in (trained, scratch))
    assert first.read_bytes() != second.read_bytes()
    rows = [json.loads((f / "history.json").read_text())["steps"][0] for f in (trained, scratch)]
    assert rows[0]["loss"] < rows[1]["loss"]  # the slice knows something already


def test_a_live_teacher_says_of_plain_images_what_was_cached(
    world, trained: Path, tmp_path: Path
) -> None:
    params = world.params("live", train={"soft_labels": "live"})
    live = world.run("train", tmp_path / "train", params=params)
    first, second = (
        json.loads((f / "history.json").read_text())["steps"][0] for f in (trained, live)
    )
    assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)
    assert (live / "model.safetensors").stat().st_size > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"mixup_alpha": 0.4},
        {"optimizer": "adamw", "learning_rate": 0.003, "mixup_alpha": 0.4, "ema_decay": 0.0},
    ],
)
def test_every_recipe_learns(world, trained: Path, tmp_path: Path, changes: dict) -> None:
    params = world.params("recipe", train={"slice_share": 0.0, **changes})
    summary = world.run("train", tmp_path / "train", params=params) / "train.json"
    assert json.loads(summary.read_text())["accuracy"]["test"] > 0.3


def test_a_teacher_of_other_data_is_refused(
    world, teacher: Path, chosen: Path, tmp_path: Path
) -> None:
    shutil.copytree(teacher, tmp_path / "teacher")
    np.save(tmp_path / "teacher" / "train_logits.npy", np.zeros((7, 10), np.float32))
    with pytest.raises(FileFormatError, match=r"train_logits.npy is float32 \(7, 10\)"):
        world.run("train", tmp_path / "train", teacher=tmp_path / "teacher")


def test_a_choice_of_an_unknown_version_is_refused(world, tmp_path: Path) -> None:
    file = tmp_path / "choice.json"
    file.write_text('{"schema": "netwright/choice/2"}')
    with pytest.raises(FileFormatError, match="netwright/choice/1"):
        world.run("train", tmp_path / "train", choice=file)


def test_a_network_that_another_device_has_trained_is_taken_and_not_trained_again(
    world, trained: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    shutil.copytree(trained, other)
    shutil.copy(trained.with_name(".train.inputs"), tmp_path / ".other.inputs")
    monkeypatch.setattr("stages.train.train_network", None)  # a training would fail
    world.run("train", mine)
    assert "run for 'other': reusing its network" in capsys.readouterr().out
    names = {"model.safetensors", "architecture.json", "train.json", "history.json"}
    assert {file.name for file in mine.iterdir()} == names
    assert all((mine / n).read_bytes() == (trained / n).read_bytes() for n in names)
    # What was changed by hand since is not taken, nor what was trained otherwise.
    shutil.rmtree(mine)
    (tmp_path / ".mine.inputs").unlink()
    with pytest.raises(TypeError):
        world.run("train", mine, params=world.params("longer", train={"epochs": 2.5}))
    (other / "model.safetensors").write_bytes(b"spoilt")
    with pytest.raises(TypeError):
        world.run("train", mine)


def test_progress_and_records_tell_the_real_number_of_epochs(
    world, supernet: Path, teacher: Path, chosen: Path, tmp_path: Path, capsys
) -> None:
    """37 steps an epoch: a tenth of one is 4 steps, and 74 are asked for."""
    params = world.params("fewest", train={"epochs": 0.1, "min_steps": 74})
    out = world.run("train", tmp_path / "train", params=params)
    assert "progress 74/74 epoch=2 " in capsys.readouterr().out
    records = [json.loads((out / name).read_text()) for name in ("train.json", "history.json")]
    assert [record["epochs"] for record in records] == [2, 2]
    assert records[1]["steps"][-1]["step"] == 74
