"""What the search adds to its space: the searched network beside random ones that are as fast.

Random networks are drawn uniformly from the device's space; the first whose measured latency is
within 3% compete. Chosen by one measurement, they are measured a second time, which chose nothing.
Network i is trained with seed i: what is compared with is the population of random networks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.baselines.world import World, of_space
from benchmarks.harness.compare import arms_table, differences_table
from benchmarks.harness.markdown import table
from data.stream import eval_batches
from devices.measure.interleaved import MeasurementError
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
_DRAWS = 5000


def peers(
    draw: Callable[[], Architecture],
    predicted: Callable[[Architecture], float],
    measured: Callable[[Architecture], float],
    count: int,
) -> list[Architecture]:
    """The first `count` random architectures as fast as the searched one, all different.

    Both latencies are over the searched network's; only what is predicted to be near is measured.
    """
    found: list[Architecture] = []
    for _ in range(_DRAWS):
        drawn = draw()
        if drawn in found or abs(predicted(drawn) - 1) > _LIKELY:
            continue
        if abs(measured(drawn) - 1) <= WITHIN:
            found.append(drawn)
        if len(found) == count:
            return found
    raise MeasurementError(
        f"of {_DRAWS} random networks {len(found)} take within {WITHIN:.0%} of the searched "
        f"network's latency, and {count} were requested: use a smaller --random."
    )


def beside_random(world: World, count: int) -> str:
    """Draw and train random networks and the searched one, and compare them."""
    searched, (space, latency) = world.release.chosen(), world.release.latency_space()
    rng, unit = np.random.default_rng(0), latency.cost(searched)
    drawn = peers(
        lambda: space.sample(rng),
        lambda architecture: latency.cost(architecture) / unit,
        lambda architecture: world.ratio(of_space(RANDOM, architecture)),
        count,
    )
    judge = slice_accuracy(world)
    mine = of_space(SEARCHED, searched)
    rows = [[SEARCHED, f"{world.ratio(mine):.3f}", "", *size(searched, judge), ""]]
    arms: dict[str, list[float]] = {SEARCHED: [], RANDOM: []}
    for seed, one in enumerate(drawn):
        entrant = of_space(RANDOM, one)
        arms[SEARCHED].append(world.accuracy(mine, seed))
        arms[RANDOM].append(world.accuracy(entrant, seed))
        ratios = [f"{world.ratio(entrant, time):.3f}" for time in (0, 1)]
        accuracy = f"{arms[RANDOM][-1]:.4f}"
        rows.append([f"random {seed}", *ratios, *size(one, judge), accuracy])
    return "\n\n".join(
        [
            describe(space, latency, searched, count),
            table(_HEAD, rows),
            arms_table(arms, "arm"),
            differences_table(arms, [(SEARCHED, RANDOM)]),
        ]
    )


_HEAD = (
    *("network", "latency, of the searched", "measured again", "million MACs", "parameters"),
    *("supernet's slice", "layers", "test accuracy"),
)


def slice_accuracy(world: World) -> Callable[[Architecture], float]:
    """Accuracy of the supernet's slice on validation images, as `rank` evaluates it."""
    rank, images = world.release.settings("rank", RankParams), world.release.images
    val = images.val if rank.images is None else spread(images.val, rank.images)
    evidence = Evidence(
        world.release.supernet,
        images.calibration(rank.recalibration_batches, rank.batch, rank.seed),
        list(eval_batches(val, images.info, rank.batch)),
    )
    return partial(supernet_accuracy, evidence)


def size(architecture: Architecture, judge: Callable[[Architecture], float]) -> list[str]:
    """Cells of the table of networks: what one is, and its slice's accuracy."""
    return [
        f"{flops(architecture) / 1e6:.2f}",
        of_space("", architecture).parameters,
        f"{judge(architecture):.4f}",
        f"`{architecture.short().replace('|', '/')}`",
    ]


def describe(space: SearchSpace, latency: Limit, searched: Architecture, count: int) -> str:
    """How the networks were chosen, and what of its budget the searched one uses."""
    cost, rng = latency.cost(searched), np.random.default_rng(1)
    faster = np.mean([latency.cost(space.sample(rng)) < cost for _ in range(_DRAWS)])
    largest = latency.cost(space.extreme(latency.cost.block, largest=True))
    return (
        f"The first {count} uniformly random networks of the space whose measured latency is "
        f"within {WITHIN:.0%} of the searched network's (those predicted to differ by more than "
        f"{_LIKELY:.0%} were not measured); then each was measured again, which chose nothing. "
        "The searched network's own latency is that of a second copy of it. Network i is trained "
        "with seed i, the searched network with all seeds. The slice's accuracy is what `rank` "
        "sees: of the release's supernet, on validation images.\n\n"
        f"The searched network is predicted to take {cost:.4f} ms of a budget of "
        f"{latency.budget:g} ms ({cost / latency.budget:.0%}); the space's network of the slowest "
        f"blocks takes {largest:.4f} ms, and {faster:.0%} of random networks are faster than the "
        "searched one."
    )
