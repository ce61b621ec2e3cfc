"""What the search adds to its space: the searched network beside random ones that are as fast.

Random networks are drawn uniformly from the device's space. The profile's prediction leaves out
those that are far from the searched network's latency, and the measuring protocol itself decides
about the others: the first ones within 3% compete. Having been chosen by one measurement, they are
measured a second time, which chose nothing. Network i is trained with seed i: what is compared
with is the population of random networks, not one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.arms import DIFFERENCE_HEAD, arm_row, difference_row, paired
from benchmarks.baseline_world import World, accuracy, of_space, parameters, ratio
from benchmarks.results import table
from data.stream import eval_batches
from devices.measure.interleaved import MeasurementError
from models.nets.supernet import Supernet
from models.search.rank.indicators import Evidence, supernet_accuracy
from models.search.rank.settings import RankParams
from models.space.architecture import Architecture
from models.space.costs import flops
from models.space.limits import Limit
from models.space.space import SearchSpace
from models.training.learning import spread

TITLE = "Random networks of the space at equal latency"
SEARCHED, RANDOM = "searched", "random"
WITHIN = 0.03
"""A random network's measured latency may differ by this fraction of the searched one's."""
_LIKELY = 0.05
"""Its predicted latency too, or it is not measured; profiles err by some 2%."""
_TRIES = 5000
_SAMPLED = 5000


@dataclass(frozen=True)
class Field:
    """Where the searched network comes from.

    Attributes:
        space: what it was searched in.
        latency: the device's budget of latency, and its prediction.
        supernet: the release's, trained.
        rank: how `rank` judged by it.
    """

    space: SearchSpace
    latency: Limit
    supernet: Supernet
    rank: RankParams


def peers(
    draw: Callable[[], Architecture],
    predicted: Callable[[Architecture], float],
    measured: Callable[[Architecture], float],
    count: int,
) -> list[Architecture]:
    """The first random architectures that are as fast as the searched one.

    Args:
        draw: a random architecture.
        predicted: latency over the searched network's, as the profile predicts it.
        measured: the same, measured; asked only where the prediction is near.
        count: how many, all different.

    Raises:
        MeasurementError: thousands were drawn, and too few were as fast.
    """
    found: list[Architecture] = []
    for _ in range(_TRIES):
        drawn = draw()
        if drawn in found or abs(predicted(drawn) - 1) > _LIKELY:
            continue
        if abs(measured(drawn) - 1) <= WITHIN:
            found.append(drawn)
        if len(found) == count:
            return found
    raise MeasurementError(
        f"of {_TRIES} random networks {len(found)} take within {WITHIN:.0%} of the searched "
        f"network's latency, and {count} were asked for: ask for fewer with --random."
    )


def chosen(world: World, field: Field, count: int) -> list[Architecture]:
    """Random networks as fast as the searched one, all measured twice, as it is against itself."""
    rng, unit = np.random.default_rng(0), field.latency.cost(world.architecture)
    found = peers(
        lambda: field.space.sample(rng),
        lambda architecture: field.latency.cost(architecture) / unit,
        lambda architecture: ratio(world, of_space(RANDOM, architecture)),
        count,
    )
    for architecture in found:
        ratio(world, of_space(RANDOM, architecture), 1)
    ratio(world, of_space(SEARCHED, world.architecture))
    return found


def beside_random(world: World, field: Field, drawn: Sequence[Architecture]) -> str:
    """Train random networks and the searched one, and say what differs."""
    searched = world.architecture
    its, theirs = [], []
    for seed, one in enumerate(drawn):
        its.append(accuracy(world, of_space(SEARCHED, searched), seed))
        theirs.append(accuracy(world, of_space(RANDOM, one), seed))
    itself = ratio(world, of_space(SEARCHED, searched))
    rows = [[SEARCHED, f"{itself:.3f}", "", *size(world, field, searched), ""]]
    for seed, one in enumerate(drawn):
        ratios = [f"{ratio(world, of_space(RANDOM, one), time):.3f}" for time in (0, 1)]
        rows.append([f"random {seed}", *ratios, *size(world, field, one), f"{theirs[seed]:.4f}"])
    head = ("arm", *(f"seed {seed}" for seed in range(len(drawn))), "mean", "std")
    return "\n\n".join(
        [
            describe(field, searched, len(drawn)),
            table(_HEAD, rows),
            table(head, [arm_row(SEARCHED, its), arm_row(RANDOM, theirs)]),
            table(DIFFERENCE_HEAD, [difference_row("searched over random", paired(its, theirs))]),
        ]
    )


_HEAD = (
    "network",
    "latency, of the searched",
    "measured again",
    "million MACs",
    "parameters",
    "supernet's slice",
    "layers",
    "test accuracy",
)


def slice_accuracy(world: World, field: Field, architecture: Architecture) -> float:
    """Accuracy of the supernet's slice on validation images, as `rank` judges."""
    rank, images = field.rank, world.images
    evidence = Evidence(
        field.supernet,
        images.calibration(rank.recalibration_batches, rank.batch, rank.seed),
        list(eval_batches(spread(images.val, rank.images), images.info, rank.batch)),
    )
    return supernet_accuracy(evidence, architecture)


def size(world: World, field: Field, architecture: Architecture) -> list[str]:
    """Cells of the table of networks: what one is and what the supernet thinks of it."""
    return [
        f"{flops(architecture) / 1e6:.2f}",
        parameters(of_space("", architecture).build(0)),
        f"{slice_accuracy(world, field, architecture):.4f}",
        f"`{architecture.short().replace('|', '/')}`",
    ]


def describe(field: Field, searched: Architecture, count: int) -> str:
    """How the networks were chosen, and what of its budget the searched one uses."""
    latency, space = field.latency, field.space
    cost, rng = latency.cost(searched), np.random.default_rng(1)
    faster = share_below(cost, [latency.cost(space.sample(rng)) for _ in range(_SAMPLED)])
    dearest = latency.cost(space.extreme(latency.cost.block, largest=True))
    return (
        f"The first {count} uniformly random networks of the space whose measured latency is "
        f"within {WITHIN:.0%} of the searched network's (those predicted to differ by more than "
        f"{_LIKELY:.0%} were not measured); then each was measured again, which chose nothing. "
        "The searched network's own latency is that of a second copy of it. Network i is trained "
        "with seed i, the searched network with all seeds. The slice's accuracy is what `rank` "
        "sees: of the release's supernet, on validation images.\n\n"
        f"The searched network is predicted to take {cost:.4f} ms of a budget of "
        f"{latency.budget:g} ms ({cost / latency.budget:.0%}); the space's network of the dearest "
        f"blocks takes {dearest:.4f} ms, and {faster:.0%} of random networks are faster than the "
        "searched one."
    )


def share_below(value: float, others: Sequence[float]) -> float:
    """The share of numbers that are smaller than one."""
    return sum(other < value for other in others) / len(others)
