"""What the comparison with torchvision's and with random networks stands on."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.baselines.__main__ import WIDTHS, widest
from benchmarks.baselines.peers import peers
from benchmarks.baselines.world import of_space
from benchmarks.harness.presets import COMPACT
from devices.measure.interleaved import MeasurementError
from models.space.architecture import Architecture
from models.space.costs import flops
from tests.spaces import architecture_at

SPACE = COMPACT.load()
ONE, OTHER = architecture_at(SPACE, 0), architecture_at(SPACE, 1)


def draw_networks(count: int) -> Iterator[Architecture]:
    rng = np.random.default_rng(0)
    return (SPACE.sample(rng) for _ in range(count))


def test_random_networks_are_those_measured_to_be_as_fast() -> None:
    drawn, measured = draw_networks(5000), list[Architecture]()

    def measure(architecture: Architecture) -> float:
        measured.append(architecture)
        return 1.02 * flops(architecture) / 4e6  # which the prediction below does not know

    found = peers(lambda: next(drawn), lambda a: flops(a) / 4e6, measure, 5)
    assert found == [a for a in measured if abs(1.02 * flops(a) / 4e6 - 1) <= 0.03]
    assert len(set(found)) == 5 < len(measured)
    assert all(abs(flops(a) / 4e6 - 1) <= 0.05 for a in measured)


def test_one_network_is_not_taken_twice() -> None:
    drawn = iter([ONE, ONE, OTHER])
    assert peers(lambda: next(drawn), lambda _: 1.0, lambda _: 1.0, 2) == [ONE, OTHER]


def test_a_latency_that_no_random_network_has_is_reported() -> None:
    drawn = draw_networks(5000)
    with pytest.raises(MeasurementError, match=r"0 take within 3%.* 2 were requested"):
        peers(lambda: next(drawn), lambda _: 1.0, lambda _: 2.0, 2)


@pytest.mark.parametrize(
    ("slope", "width"), [(1.0, 1.0), (0.5, 2.0), (4.0, 0.25), (100.0, 0.05), (0.1, 2.0)]
)
def test_the_widest_network_that_is_fast_enough_is_found(slope: float, width: float) -> None:
    found, ratio = widest(lambda w: slope * w, WIDTHS)
    assert (found, ratio) == pytest.approx((width, slope * width))


def test_a_seed_gives_a_network_its_weights() -> None:
    def first(network: nn.Module) -> torch.Tensor:
        return next(iter(network.parameters()))

    build = of_space("any", ONE).build
    assert torch.equal(first(build(3)), first(build(3)))
    assert not torch.equal(first(build(3)), first(build(4)))
