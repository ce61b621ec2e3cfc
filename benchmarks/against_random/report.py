"""What the answers and the random networks say."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student

from benchmarks.harness.compare import spread_of
from benchmarks.harness.markdown import table
from benchmarks.harness.runs import Row

GOAL = 1.0
"""Points by which answers should be ahead."""


@dataclass(frozen=True)
class Gap:
    """Difference of the means of two independent samples, with Welch's 95% interval (Welch 1947).

    Attributes:
        low: None with fewer than two values in a sample.
    """

    mean: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, a: Sequence[float], b: Sequence[float]) -> Gap:
        """Mean of `a` minus mean of `b`."""
        mean = statistics.fmean(a) - statistics.fmean(b)
        if min(len(a), len(b)) < 2:
            return cls(mean, None, None)
        shares = [statistics.variance(values) / len(values) for values in (a, b)]
        if not sum(shares):
            return cls(mean, mean, mean)
        below = sum(s**2 / (len(v) - 1) for s, v in zip(shares, (a, b), strict=True))
        reach = float(student.ppf(0.975, sum(shares) ** 2 / below)) * math.sqrt(sum(shares))
        return cls(mean, mean - reach, mean + reach)

    @property
    def verdict(self) -> str:
        """What the interval allows to say."""
        if self.low is None or self.high is None:
            return "undecided: too few runs"
        if self.low > 0:
            return "ahead of random"
        return "behind random" if self.high < 0 else "undecided"

    def shown(self) -> str:
        """`+1.20 (+0.50 to +1.90)`."""
        if self.low is None or self.high is None:
            return f"{self.mean:+.2f} (too few runs)"
        return f"{self.mean:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def report(answers: Sequence[Row], chance: Sequence[Row], planned: tuple[int, int]) -> str:
    """Both arms, their difference, and where the winners came from, as Markdown."""
    points = [[100 * row["test_accuracy"] for row in rows] for rows in (answers, chance)]
    gap = Gap.of(*points)
    done = "" if (len(answers), len(chance)) == planned else _unfinished(answers, chance, planned)
    rows = [
        ("independent answers", *_arm(answers, points[0])),
        ("random networks of the band", *_arm(chance, points[1])),
    ]
    head = ("arm", "runs", "test accuracy, %", "lowest and highest", "million MACs")
    goal = "met" if gap.mean >= GOAL and (gap.low or 0) > 0 else "not shown"
    costs = [row["steps"] / row["whole"] for row in answers]
    return "\n\n".join(
        [
            table(head, rows),
            f"{done}Answers over random networks: {gap.shown()} points, so **{gap.verdict}** "
            f"(goal: {GOAL:g} point and more, with an interval above 0: {goal}). An answer's race "
            f"cost {statistics.fmean(costs):.1f} whole trainings, besides its supernet.",
            "Where the networks of the races came from; accuracies are of the validation images, "
            "at the first rung, as points over the mean of the same race's controls:",
            table(("origin", "networks", "first rung, points", "winners"), _origins(answers)),
        ]
    )


def _unfinished(answers: Sequence[Row], chance: Sequence[Row], planned: tuple[int, int]) -> str:
    return (
        f"Unfinished: {len(answers)} of {planned[0]} answers and {len(chance)} of {planned[1]} "
        "random networks. "
    )


def _arm(rows: Sequence[Row], points: Sequence[float]) -> tuple[str, str, str, str]:
    ends = f"{min(points):.2f} to {max(points):.2f}"
    macs = spread_of([row["flops"] / 1e6 for row in rows], 2)
    return str(len(rows)), spread_of(points, 2), ends, macs


def _origins(answers: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    """A network with several origins counts for each of them."""
    found: dict[str, list[float]] = {}
    winners = Counter(origin for row in answers for origin in row["origins"])
    for answer in answers:
        first = {row["architecture_id"]: _first(row) for row in answer["networks"]}
        controls = [
            first[row["architecture_id"]]
            for row in answer["networks"]
            if "control" in row["origins"]
        ]
        if not controls:
            continue
        mean = statistics.fmean(controls)
        for row in answer["networks"]:
            for origin in row["origins"]:
                found.setdefault(origin, []).append(100 * (first[row["architecture_id"]] - mean))
    return [
        (origin, str(len(points)), spread_of(points, 2), str(winners[origin]))
        for origin, points in found.items()
    ]


def _first(row: Row) -> float:
    """Accuracy at the first rung."""
    accuracies: dict[str, float] = row["val_accuracy"]
    return accuracies[min(accuracies, key=int)]
