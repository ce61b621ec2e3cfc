import json
from pathlib import Path

import pytest

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
