"""What trainings of networks of equal cost say."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import f as fisher

from benchmarks.harness.compare import spread_of
from benchmarks.harness.markdown import number, table
from models.predict.ranking import Tau, resamples, tau_b, weighted_tau_b
from models.space.architecture import Architecture
from models.space.costs import depth, flops, parameters
from models.space.space import SearchSpace

_RESAMPLES = 2000
_POINTS = 100


@dataclass(frozen=True)
class Trained:
    """Networks, and for each the validation accuracies of its seeds."""

    networks: Sequence[Architecture]
    accuracies: Sequence[Sequence[float]]

    @property
    def means(self) -> list[float]:
        """Over the seeds of each network."""
        return [statistics.fmean(row) for row in self.accuracies]


@dataclass(frozen=True)
class Spread:
    """One-way random effects of the networks, by analysis of variance.

    Scheffe 1959, "The Analysis of Variance", section 7.2. With unequal numbers of seeds the test is
    exact and the interval approximate.

    Attributes:
        within: mean square within networks: the variance of seeds.
        between: mean square between networks.
        seeds: number of seeds of a network; where it differs, the effective one.
        degrees: of freedom, between and within.
    """

    within: float
    between: float
    seeds: float
    degrees: tuple[int, int]

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]]) -> Spread:
        """Of the accuracies of each network; at least two networks, and one with two seeds."""
        counts = [len(row) for row in rows]
        total, degrees = sum(counts), (len(rows) - 1, sum(counts) - len(rows))
        whole = statistics.fmean(value for row in rows for value in row)
        means = [statistics.fmean(row) for row in rows]
        pairs = zip(rows, means, strict=True)
        within = sum((value - mean) ** 2 for row, mean in pairs for value in row)
        between = sum(n * (mean - whole) ** 2 for n, mean in zip(counts, means, strict=True))
        seeds = (total - sum(n * n for n in counts) / total) / degrees[0]
        return cls(within / degrees[1], between / degrees[0], seeds, degrees)

    @property
    def noise(self) -> float:
        """Standard deviation between seeds of one network."""
        return math.sqrt(self.within)

    def shares(self) -> tuple[float, float, float]:
        """Variance of the networks over that of seeds, with its 95% interval; at least 0."""
        if not self.within:
            return math.inf, math.inf, math.inf
        ratio, law = self.between / self.within, fisher(*self.degrees)
        ends = (1.0, float(law.ppf(0.975)), float(law.ppf(0.025)))
        value, low, high = (max(0.0, ratio / end - 1) / self.seeds for end in ends)
        return value, low, high

    def spread(self) -> tuple[float, float, float]:
        """Standard deviation of the networks without seed noise, at the noise that was seen."""
        if not self.within:
            plain = math.sqrt(self.between / self.seeds)
            return plain, plain, plain
        value, low, high = (self.noise * math.sqrt(share) for share in self.shares())
        return value, low, high

    def chance(self) -> float:
        """Probability of such a ratio of mean squares if seeds were all that differs."""
        if not self.within:
            return 0.0
        return float(fisher(*self.degrees).sf(self.between / self.within))

    @property
    def verdict(self) -> str:
        """What the interval allows to say."""
        low, high = self.shares()[1:]
        if low > 1:
            return "networks of equal cost differ by more than seeds do"
        if low > 0:
            return "networks of equal cost differ; whether by more than seeds do is undecided"
        return "nothing but seed noise was seen" if high < 1 else "undecided"


def report(space: SearchSpace, found: Trained) -> str:
    """Spread, what orders the networks, and the scales, as Markdown."""
    points, spread = [_POINTS * value for value in found.means], Spread.of(found.accuracies)
    value, low, high = (_POINTS * end for end in spread.spread())
    ratio, least, most = spread.shares()
    trainings = sum(map(len, found.accuracies))
    rows = [
        ("networks, trainings", f"{len(points)}, {trainings}"),
        ("accuracy of the networks, %", spread_of(points, 2)),
        ("lowest and highest, %", f"{min(points):.2f} to {max(points):.2f}"),
        ("standard deviation of seeds, points", f"{_POINTS * spread.noise:.2f}"),
        (
            "standard deviation of networks without seed noise, points (95% interval)",
            f"{value:.2f} ({low:.2f} to {high:.2f})",
        ),
        (
            "variance of networks over that of seeds (95% interval)",
            f"{ratio:.1f} ({least:.1f} to {most:.1f})",
        ),
        ("probability of that if only seeds differed", f"{spread.chance():.4f}"),
    ]
    return "\n\n".join(
        [
            table(("what", "value"), rows),
            f"So: **{spread.verdict}**.",
            "Kendall's tau-b with the validation accuracy (mean over seeds), with 95% bootstrap "
            "intervals:",
            table(("number of a network", "from", "to", "tau", "interval"), _taus(found)),
            _scales(space, found),
        ]
    ).strip()


def _taus(found: Trained) -> list[tuple[str, str, str, str, str]]:
    columns: dict[str, Callable[[Architecture], float]] = {
        "depth": depth,
        "multiply-accumulates": flops,
        "parameters": parameters,
        "resolution": lambda one: one.present[one.first_layer - 1].size,
        "mean width of a layer": _mean_width,
        "mean size of a layer's output": _mean_size,
    }
    means = found.means
    counts_DM = resamples(len(means), _RESAMPLES, np.random.default_rng(0))
    rows, truth = [], np.array(means)
    for name, of in columns.items():
        values = [float(of(one)) for one in found.networks]
        resampled_D = weighted_tau_b(np.array(values), truth, counts_DM)
        tau = Tau.of(tau_b(values, means), resampled_D)
        interval = "-" if tau.low is None else f"{tau.low:+.2f} to {tau.high:+.2f}"
        ends = f"{min(values):,.0f}", f"{max(values):,.0f}"
        rows.append((name, *ends, number(tau.value, "+.2f"), interval))
    return rows


def _mean_width(one: Architecture) -> float:
    return statistics.fmean(block.out_channels for block in one.layers if block is not None)


def _mean_size(one: Architecture) -> float:
    return statistics.fmean(block.out_size for block in one.layers if block is not None)


def _scales(space: SearchSpace, found: Trained) -> str:
    """Accuracy by resolution and strides; empty where neither is searched."""
    if len(space.scales) == 1:
        return ""
    by: dict[str, list[float]] = {space.groups[0].label(n): [] for n in range(len(space.scales))}
    for one, accuracy in zip(found.networks, found.means, strict=True):
        by[space.groups[0].label(space.choices(one)[0])].append(_POINTS * accuracy)
    rows = [(n, str(len(v)), spread_of(v, 2) if v else "-") for n, v in by.items()]
    return table(("resolution and strides", "networks", "accuracy, %"), rows)
