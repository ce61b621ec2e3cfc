import json
from pathlib import Path

import pytest

from core.errors import UserError
from core.settings import ParamsError
from models.nets.supernet import Supernet
from models.nets.weights import load_into


def test_the_supernet_learns_and_its_history_says_so(world, supernet: Path) -> None:
    load_into(Supernet(world.space), supernet / "supernet.safetensors")
    history = json.loads((supernet / "history.json").read_text())
    assert history["architectures"] == world.space.count()
    assert history["steps"][-1]["loss"] < 0.6 * history["steps"][0]["loss"]
    assert len(history["subnets"]) == 2
    assert all(row["val_accuracy"] > 0.5 for row in history["subnets"])


def test_nothing_but_the_result_is_left(supernet: Path) -> None:
    assert sorted(f.name for f in supernet.iterdir()) == ["history.json", "supernet.safetensors"]
    assert not (supernet.parent / ".supernet.partial").exists()


def test_an_unknown_strategy_is_refused_with_the_nearest(world, tmp_path: Path) -> None:
    params = world.params("strategy", supernet={"strategy": "spoz"})
    with pytest.raises(ParamsError, match=r"supernet.strategy: unknown strategy 'spoz'.*'spos'"):
        world.run("supernet", tmp_path / "out", params=params)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["epochs", "batch", "learning_rate", "threads"])
def test_impossible_values_are_refused_by_name(world, tmp_path: Path, key: str) -> None:
    params = world.params(f"impossible-{key}", supernet={key: 0})
    with pytest.raises(ParamsError, match=f"supernet.{key}: "):
        world.run("supernet", tmp_path / "out", params=params)


def test_the_stage_refuses_a_supernet_that_learned_nothing_and_keeps_its_training(
    world, tmp_path: Path, capsys
) -> None:
    changes = {"learning_rate": 1e-9, "epochs": 0.5, "report_images": 300}
    params = world.params("nothing", supernet=changes)
    with pytest.raises(UserError, match=r"better than chance: 2 sampled networks") as refusal:
        world.run("supernet", tmp_path / "supernet", params=params)
    message = str(refusal.value)
    assert "supernet.epochs (now 0.5) or min_steps (now 1)" in message
    assert "learning_rate (now 1e-09)" in message
    assert "starts from the beginning" in message
    assert not (tmp_path / "supernet").exists()
    assert "progress" in capsys.readouterr().out
    with pytest.raises(UserError, match="better than chance"):
        world.run("supernet", tmp_path / "supernet", params=params)
    assert "progress" not in capsys.readouterr().out  # the training was kept


def test_without_sampled_networks_the_stage_notes_that_nothing_was_checked(
    world, tmp_path: Path, capsys
) -> None:
    changes = {"learning_rate": 1e-9, "epochs": 0.1, "report_subnets": 0}
    out = world.run("supernet", tmp_path / "out", params=world.params("none", supernet=changes))
    assert "note: supernet.report_subnets is 0" in capsys.readouterr().out
    assert json.loads((out / "history.json").read_text())["subnets"] == []


def test_a_supernet_starts_from_an_earlier_one(
    world, supernet: Path, tmp_path: Path, capsys
) -> None:
    changes = {"start_from": "supernet", "epochs": 0.1, "learning_rate": 1e-4}
    out = world.run(
        "supernet", tmp_path / "out", params=world.params("again", supernet=changes), file=supernet
    )
    start = json.loads((out / "history.json").read_text())["start"]
    assert start["whole"] == start["tensors"] > 50
    assert start["random"] == start["partly"] == start["unused"] == []
    assert f"started from {supernet}: {start['whole']} of" in capsys.readouterr().out
    first, second = (
        json.loads((folder / "history.json").read_text())["subnets"] for folder in (supernet, out)
    )
    # A tenth of an epoch at a tiny rate teaches nothing: the networks came with their accuracy.
    accuracies = [[row["val_accuracy"] for row in rows] for rows in (first, second)]
    assert min(accuracies[1]) > 0.9 * min(accuracies[0])
    assert not Supernet.read(supernet, world.space).pretrained
    assert Supernet.read(out, world.space).pretrained


def test_a_start_that_is_not_there_is_refused_before_the_training(world, tmp_path: Path) -> None:
    params = world.params("missing", supernet={"start_from": "supernet", "optimizer": "sgd"})
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(UserError, match=r"supernet.file: .*nowhere/.* does not exist"):
        world.run("supernet", tmp_path / "out", params=params, file=tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()
