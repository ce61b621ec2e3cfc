"""How many steps the BN indicator's ranking needs, under `bn_only` and under `spos`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau

from benchmarks.harness.markdown import table, verdict
from benchmarks.harness.presets import COMPACT, random_images
from benchmarks.supernet.cost import Effort, strategy_of
from data.dataset import DatasetInfo, read_split
from data.stream import TrainStream
from models.nets.indicators import bn_indicator
from models.space.architecture import Architecture
from models.space.space import SearchSpace
from models.training.loop import Recipe, Run

GOAL = 0.1
SETTLED = 0.95
SHARES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Of the steps after which the ranking is looked at."""

Scores = npt.NDArray[np.float64]


def settling(effort: Effort) -> str:
    """Steps until the indicator's ranking agrees with its final one, for both strategies."""
    space, stream, images = _images(effort)
    rng = np.random.default_rng(0)
    judged = [space.sample(rng) for _ in range(effort.ranked)]

    def learn(name: str, steps: int) -> list[tuple[int, Scores]]:
        return scores_on_the_way(name, space, stream, judged, steps)

    found = {name: learn(name, effort.steps) for name in ("spos", "bn_only")}
    short = {name: learn(name, max(1, effort.steps // 10))[-1][1] for name in found}
    taus = {n: [_tau(scores, rows[-1][1]) for _, scores in rows] for n, rows in found.items()}
    needed = {n: settled([step for step, _ in found[n]], taus[n]) for n in found}
    rows = [
        (f"{step}", *(f"{taus[n][i]:.3f}" for n in found))
        for i, (step, _) in enumerate(found["spos"])
    ]
    agreement = _tau(found["spos"][-1][1], found["bn_only"][-1][1])
    lines = [
        f"{images}; {effort.ranked} random architectures of `{space.name}`, {effort.steps} steps "
        f"of {stream.batch} images. Kendall's tau of the ranking with the final one:",
        table(("step", "`spos`", "`bn_only`"), rows),
        f"Settled (tau at least {SETTLED} from there on): `spos` after {needed['spos']} steps, "
        f"`bn_only` after {needed['bn_only']}.",
        verdict("`bn_only` over `spos`", needed["bn_only"] / needed["spos"], GOAL),
        "A whole training of a tenth of the steps against the long one of the same strategy: tau "
        + ", ".join(f"{_tau(short[n], found[n][-1][1]):.3f} (`{n}`)" for n in found)
        + f". Final rankings of the two strategies against each other: {agreement:.3f}.",
    ]
    return "\n\n".join(lines)


def settled(steps: list[int], taus: list[float]) -> int:
    """The first step from which on every tau is high enough."""
    for place in range(len(steps)):
        if min(taus[place:]) >= SETTLED:
            return steps[place]
    raise AssertionError("the last ranking agrees with itself")


def scores_on_the_way(
    name: str, space: SearchSpace, stream: TrainStream, judged: list[Architecture], steps: int
) -> list[tuple[int, Scores]]:
    """The indicator of all architectures after some steps, and after the last."""
    strategy = strategy_of(name, space, len(stream.split))
    recipe = Recipe(steps, 0.1, weight_decay=5e-5, window=steps)
    run = Run(strategy.supernet, recipe, strategy.trainable(), strategy)
    looks = {max(1, round(share * steps)) for share in SHARES}
    rows = []
    while run.step < steps:
        run.advance(lambda step: stream.at(step), strategy.learn)
        if run.step in looks:
            scores = [bn_indicator(strategy.supernet, a, per_layer=True) for a in judged]
            rows.append((run.step, np.array(scores)))
    return rows


def _tau(one: Scores, other: Scores) -> float:
    return float(kendalltau(one, other).statistic)


def _images(effort: Effort) -> tuple[SearchSpace, TrainStream, str]:
    """The space for the images, the images, and what they are."""
    if effort.data is None:
        stream = random_images(COMPACT.image_shape, effort.batch)
        return COMPACT.load(), stream, "Random images with random labels"
    info = DatasetInfo.read(effort.data)
    space = SearchSpace.load(COMPACT.file, info.image_shape, len(info.classes))
    train = read_split(effort.data, "train")
    return space, TrainStream(train, info, effort.batch, 0, augment=True), f"`{info.name}`"
