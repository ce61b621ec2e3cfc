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
    """Networks with validation accuracies: of the first seed, and of all seeds of some."""

    networks: Sequence[Architecture]
    first: Sequence[float]
    again: Sequence[Sequence[float]]
    """Per repeated network one accuracy per seed."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations between networks of one seed, and between seeds of one network."""

    between: float
    between_degrees: int
    noise: float
    noise_degrees: int

    @classmethod
    def of(cls, found: Trained) -> Spread:
        """Noise is pooled over the repeated networks."""
        degrees = sum(len(row) - 1 for row in found.again)
        squares = sum((len(row) - 1) * statistics.variance(row) for row in found.again)
        noise = math.sqrt(squares / degrees)
        return cls(statistics.stdev(found.first), len(found.first) - 1, noise, degrees)

    def ratio(self) -> tuple[float, float, float]:
        """Variance between networks over that between seeds, with Fisher's 95% interval."""
        if self.noise == 0:
            return math.inf, math.inf, math.inf
        value = (self.between / self.noise) ** 2
        law = fisher(self.between_degrees, self.noise_degrees)
        return value, value / float(law.ppf(0.975)), value / float(law.ppf(0.025))

    def true_spread(self) -> tuple[float, float, float]:
        """Standard deviation between networks without noise, with its interval; at least 0.

        Of the ratio's interval, at the noise that was seen.
        """
        value, low, high = (
            self.noise * math.sqrt(max(0.0, ratio - 1)) if self.noise else self.between
            for ratio in self.ratio()
        )
        return value, low, high

    @property
    def verdict(self) -> str:
        """What the ratio's interval allows to say."""
        low, high = self.ratio()[1:]
        if low > 1:
            return "networks of equal cost differ by more than seeds do"
        return "nothing but seed noise was seen" if high < 1 else "undecided"


def report(space: SearchSpace, found: Trained) -> str:
    """Spread, what orders the networks, and the scales, as Markdown."""
    points = [_POINTS * value for value in found.first]
    spread = Spread.of(found)
    value, low, high = spread.true_spread()
    ratio, least, most = spread.ratio()
    rows = [
        ("accuracy of the networks, %", spread_of(points, 2)),
        ("lowest and highest, %", f"{min(points):.2f} to {max(points):.2f}"),
        ("standard deviation between networks, points", f"{_POINTS * spread.between:.2f}"),
        (
            f"standard deviation between seeds, points ({len(found.again)} networks)",
            f"{_POINTS * spread.noise:.2f}",
        ),
        ("ratio of the variances (95% interval)", f"{ratio:.1f} ({least:.1f} to {most:.1f})"),
        (
            "spread without seed noise, points (95% interval)",
            f"{_POINTS * value:.2f} ({_POINTS * low:.2f} to {_POINTS * high:.2f})",
        ),
    ]
    return "\n\n".join(
        [
            table(("what", "value"), rows),
            f"So: **{spread.verdict}**.",
            "Kendall's tau-b with the validation accuracy, with 95% bootstrap intervals:",
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
    counts_DM = resamples(len(found.first), _RESAMPLES, np.random.default_rng(0))
    rows, truth = [], np.array(found.first)
    for name, of in columns.items():
        values = [float(of(one)) for one in found.networks]
        resampled_D = weighted_tau_b(np.array(values), truth, counts_DM)
        tau = Tau.of(tau_b(values, found.first), resampled_D)
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
    for one, accuracy in zip(found.networks, found.first, strict=True):
        by[space.groups[0].label(space.choices(one)[0])].append(_POINTS * accuracy)
    rows = [(n, str(len(v)), spread_of(v, 2) if v else "-") for n, v in by.items()]
    return table(("resolution and strides", "networks", "accuracy, %"), rows)
