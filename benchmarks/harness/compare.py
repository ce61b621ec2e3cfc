"""Paired comparison of arms that ran with the same seeds: differences with Student's intervals."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from scipy.stats import t as student

from benchmarks.harness.markdown import table

Arms = Mapping[str, Sequence[float]]
"""Per arm one value a seed, the same seeds in the same order for all."""


class Difference(NamedTuple):
    """Paired differences `a - b` over the seeds; nothing is decided with fewer than two."""

    mean: float
    std: float
    seeds: int

    @classmethod
    def of(cls, a: Sequence[float], b: Sequence[float]) -> Difference:
        """Of two results with the same seeds in the same order."""
        rows = [float(x - y) for x, y in zip(a, b, strict=True)]
        std = statistics.stdev(rows) if len(rows) > 1 else float("inf")
        return cls(statistics.fmean(rows), std, len(rows))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Student's interval of the mean; unbounded with fewer than two seeds."""
        if self.seeds < 2:
            return float("-inf"), float("inf")
        reach = float(student.ppf(0.5 + level / 2, self.seeds - 1)) * self.std / self.seeds**0.5
        return self.mean - reach, self.mean + reach

    @property
    def verdict(self) -> str:
        """What the 95% interval allows to say, where more is better."""
        low, high = self.interval()
        if low > 0:
            return "better"
        return "worse" if high < 0 else "undecided"

    def below(self, margin: float) -> bool:
        """Whether a one-sided test at 5% shows the difference to be below the margin."""
        return self.interval(0.9)[1] < margin

    def equal(self, margin: float) -> bool:
        """Whether two one-sided tests at 5% show the difference to be within the margin."""
        return -margin < self.interval(0.9)[0] and self.below(margin)

    def shown(self, digits: int, unit: float = 1.0, level: float = 0.95) -> str:
        """Mean and interval in units of `1 / unit`: `+0.10 (-0.20 to +0.40)`."""
        low, high = (f"{unit * end:+.{digits}f}" for end in self.interval(level))
        return f"{unit * self.mean:+.{digits}f} ({low} to {high})"


def spread_of(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation of a sample; of one value itself."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def arms_table(arms: Arms, head: str) -> str:
    """Every arm's value per seed, mean and standard deviation."""
    seeds = len(next(iter(arms.values())))
    rows = []
    for name, values in arms.items():
        std = f"{statistics.stdev(values):.4f}" if seeds > 1 else "-"
        mean = f"**{statistics.fmean(values):.4f}**"
        rows.append([name, *(f"{value:.4f}" for value in values), mean, std])
    return table((head, *(f"seed {seed}" for seed in range(seeds)), "mean", "std"), rows)


def differences_table(arms: Arms, pairs: Iterable[tuple[str, str]]) -> str:
    """Differences of accuracies between pairs of arms, in points (hundredths)."""
    rows = []
    for better, than in pairs:
        found = Difference.of(arms[better], arms[than])
        low, high = (f"{100 * end:+.2f}" for end in found.interval())
        cells = [f"{100 * found.mean:+.2f}", f"{100 * found.std:.2f}", f"{low} to {high}"]
        rows.append([f"{better} over {than}", *cells, found.verdict])
    return table(("difference", "mean, points", "std", "95% interval", "verdict"), rows)
