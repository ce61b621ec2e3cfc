import json
import shutil
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.files import FileFormatError
from data.dataset import DatasetInfo, read_split
from data.stream import eval_batches
from models.nets.equivalence import EquivalenceError
from models.nets.evaluate import accuracy
from models.nets.subnet import Subnet
from models.nets.supernet import extract
from models.nets.weights import load_into
from models.search.choice import Choice
from models.search.race.networks import RacedWeights
from models.space.architecture import Architecture
from models.training.learning import Images
from tests.spaces import architecture_at


@pytest.fixture(scope="module")
def trained(world, raced: Path) -> Path:
    return world.run("train", world.root / "train")


@pytest.fixture
def network(chosen: Path) -> Architecture:
    return Choice.read(chosen).architecture


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


def test_what_the_race_trained_is_delivered_to_the_byte(
    raced: Path, trained: Path, network: Architecture
) -> None:
    weights = raced / f"{network.id}.safetensors"
    assert (trained / "model.safetensors").read_bytes() == weights.read_bytes()
    history = raced / f"{network.id}.json"
    assert (trained / "history.json").read_bytes() == history.read_bytes()
    names = {"model.safetensors", "architecture.json", "train.json", "history.json"}
    assert {file.name for file in trained.iterdir()} == names


def test_a_network_that_the_race_has_not_trained_to_the_end_is_named(
    world, raced: Path, tmp_path: Path
) -> None:
    other, choice = architecture_at(world.space, 5), tmp_path / "choice.json"
    Choice.of(other, "the best of 1 candidate", None).write(choice)
    with pytest.raises(UserError, match=rf"lacks network {other.id}.*Run the stage race again"):
        world.run("train", tmp_path / "train", choice=choice)
    assert not (tmp_path / "train").exists()


def test_a_damaged_network_of_the_race_is_named(
    world, raced: Path, network: Architecture, tmp_path: Path
) -> None:
    shutil.copytree(raced, tmp_path / "networks")
    damaged = tmp_path / "networks" / f"{network.id}.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    with pytest.raises(UserError, match=damaged.name):
        world.run("train", tmp_path / "train", race=tmp_path / "networks")


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


def first_loss(folder: Path, network: Architecture) -> float:
    loss = RacedWeights(folder, network).history.steps[0]["loss"]
    assert loss is not None
    return loss


def test_a_start_from_random_weights_gives_another_network(
    world, raced: Path, network: Architecture, tmp_path: Path
) -> None:
    params = world.params("scratch", train={"slice_share": 0.0, "epochs": 0.2})
    scratch = world.finish(params, network, tmp_path)
    assert scratch.weights != (raced / f"{network.id}.safetensors").read_bytes()
    # the slice knows something already
    assert first_loss(raced, network) < first_loss(tmp_path, network)


def test_a_live_teacher_says_of_plain_images_what_was_cached(
    world, raced: Path, network: Architecture, tmp_path: Path
) -> None:
    params = world.params("live", train={"soft_labels": "live"})
    live = world.finish(params, network, tmp_path)
    assert first_loss(tmp_path, network) == pytest.approx(first_loss(raced, network), rel=1e-4)
    assert live.standing.accuracy > 0.8


@pytest.mark.parametrize(
    "changes",
    [
        {"mixup_alpha": 0.4},
        {"optimizer": "adamw", "learning_rate": 0.003, "mixup_alpha": 0.4, "ema_decay": 0.0},
    ],
)
def test_every_recipe_learns(
    world, raced: Path, network: Architecture, tmp_path: Path, changes: dict
) -> None:
    params = world.params("recipe", train={"slice_share": 0.0, **changes})
    finished = world.finish(params, network, tmp_path)
    found = RacedWeights(tmp_path, network).network
    images = Images.read(world.root / "data")
    assert images.accuracy(found, "val") == finished.standing.accuracy > 0.3


def test_a_teacher_of_other_data_is_refused(
    world, teacher: Path, chosen: Path, tmp_path: Path
) -> None:
    shutil.copytree(teacher, tmp_path / "teacher")
    np.save(tmp_path / "teacher" / "train_logits.npy", np.zeros((7, 10), np.float32))
    with pytest.raises(FileFormatError, match=r"train_logits.npy is float32 \(7, 10\)"):
        world.trainings(world.root / "params.yaml", teacher=tmp_path / "teacher")


def test_a_teacher_at_chance_is_refused_by_the_training(
    world, teacher: Path, tmp_path: Path
) -> None:
    bad = shutil.copytree(teacher, tmp_path / "teacher")
    record = json.loads((bad / "teacher.json").read_text())
    record["accuracy"]["val"] = 0.1
    (bad / "teacher.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"teacher is no better than chance.*Raise teacher.epochs"):
        world.trainings(world.root / "params.yaml", teacher=bad)
    without = world.params("without", train={"distill_weight": 0.0})
    assert world.trainings(without, teacher=bad).steps > 0


def test_a_choice_of_an_unknown_version_is_refused(world, raced: Path, tmp_path: Path) -> None:
    file = tmp_path / "choice.json"
    file.write_text('{"schema": "netwright/choice/2"}')
    with pytest.raises(FileFormatError, match="netwright/choice/1"):
        world.run("train", tmp_path / "train", choice=file)


def test_records_tell_the_real_number_of_epochs(
    world, teacher: Path, network: Architecture, tmp_path: Path
) -> None:
    """37 steps an epoch: a tenth of one is 4 steps, and 74 are asked for."""
    params = world.params("fewest", train={"epochs": 0.1, "min_steps": 74})
    world.finish(params, network, tmp_path / "networks")
    out = world.run("train", tmp_path / "train", params=params, race=tmp_path / "networks")
    records = [json.loads((out / name).read_text()) for name in ("train.json", "history.json")]
    assert [record["epochs"] for record in records] == [2, 2]
    assert records[1]["steps"][-1]["step"] == 74
