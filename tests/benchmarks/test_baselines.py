"""What the comparison with torchvision's and with random networks stands on."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import baseline_world
from benchmarks.arms import Ledger
from benchmarks.baseline_random import peers
from benchmarks.baseline_world import Entrant, World, accuracy, of_space, ratio
from core.settings import read_section
from devices.measure.interleaved import MeasurementError, Protocol
from models.space.architecture import Architecture
from models.space.costs import flops
from models.space.file import PRESETS
from models.space.space import SearchSpace
from models.training.learning import Images
from models.training.settings import TrainParams

SPACE = SearchSpace.load(PRESETS / "compact.yaml", (1, 28, 28), 10)
ONE, OTHER = SPACE.from_index(0), SPACE.from_index(1)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Everything but the images, which nothing here looks at."""
    params = read_section(PRESETS.parents[1] / "params.yaml", "train", TrainParams)
    ledger = Ledger(tmp_path / "ledger.json")
    protocol = Protocol(3, 5)
    return World(cast(Images, None), ONE, params, protocol, tmp_path, ledger)


def drawing(count: int) -> Iterator[Architecture]:
    rng = np.random.default_rng(0)
    return (SPACE.sample(rng) for _ in range(count))


def test_random_networks_are_those_measured_to_be_as_fast() -> None:
    drawn, asked = drawing(5000), list[Architecture]()

    def measured(architecture: Architecture) -> float:
        asked.append(architecture)
        return 1.02 * flops(architecture) / 4e6  # which the prediction below does not know

    found = peers(lambda: next(drawn), lambda a: flops(a) / 4e6, measured, 5)
    right = [a for a in asked if abs(1.02 * flops(a) / 4e6 - 1) <= 0.03]
    assert found == right
    assert len(set(found)) == 5 < len(asked)
    assert all(abs(flops(a) / 4e6 - 1) <= 0.05 for a in asked)


def test_one_network_is_not_taken_twice() -> None:
    drawn = iter([ONE, ONE, OTHER])
    assert peers(lambda: next(drawn), lambda _: 1.0, lambda _: 1.0, 2) == [ONE, OTHER]


def test_a_latency_that_no_random_network_has_is_said() -> None:
    drawn = drawing(5000)
    with pytest.raises(MeasurementError, match=r"0 take within 3%.* 2 were asked for"):
        peers(lambda: next(drawn), lambda _: 1.0, lambda _: 2.0, 2)


def test_a_run_is_taken_only_for_the_very_same_network(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def trained(_: World, entrant: Entrant, seed: int) -> dict[str, float]:
        done.append(f"{entrant.identity} {seed}")
        return {"accuracy": float(len(done))}

    def measured(_: World, entrant: Entrant) -> float:
        done.append(entrant.identity)
        return float(len(done))

    monkeypatch.setattr(baseline_world, "_trained", trained)
    monkeypatch.setattr(baseline_world, "_measured", measured)
    one, other = of_space("searched", ONE), of_space("searched", OTHER)
    assert [accuracy(world, e, s) for e in (one, other, one) for s in (0, 1)] == [1, 2, 3, 4, 1, 2]
    assert [ratio(world, e) for e in (one, other, one)] == [5, 6, 5]
    assert ratio(world, one, 1) == 7


def test_a_seed_gives_a_network_its_weights() -> None:
    def first(network: nn.Module) -> torch.Tensor:
        return next(iter(network.parameters()))

    build = of_space("any", ONE).build
    assert torch.equal(first(build(3)), first(build(3)))
    assert not torch.equal(first(build(3)), first(build(4)))
