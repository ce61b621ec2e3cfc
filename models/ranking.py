"""Whether a ranking can be trusted: Kendall's tau-b with its interval, against baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SCHEMA = "netwright/ranking/1"
BASELINES = ("depth", "flops", "parameters", "random")
"""What an indicator must beat: larger networks first, or any order at all."""
NAMED = {"depth": "depth", "flops": "FLOPs"}
"""Baselines that every statement names, in words: larger first is the first thing to suspect."""
CONFIDENCE = 0.95

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tau:
    """Kendall's tau-b with its bootstrap interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, float | None]:
        """Plain values, rounded."""
        pairs = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if x is None else round(x, 6) for name, x in pairs.items()}


def tau_b(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b: agreement of two orders, -1 to 1, corrected for ties.

    None where it is not defined: fewer than two values, or one side all equal.
    """
    once = np.ones((1, len(first)), dtype=np.int64)
    value = float(weighted_tau_b(np.asarray(first), np.asarray(second), once)[0])
    return None if np.isnan(value) else value


def weighted_tau_b(first: Scores, second: Scores, counts_DM: npt.NDArray[np.int64]) -> Scores:
    """tau-b of D resamples at once, each given by how often it holds each of the M items.

    Over all pairs, agreements minus disagreements, divided by the geometric mean of the pairs
    that `first` and that `second` tell apart; copies of one item are a tie in both.

    Returns:
        Shape (D,); NaN where one side tells nothing apart.
    """
    signs_first_MM = np.sign(first[:, None] - first[None, :])
    signs_second_MM = np.sign(second[:, None] - second[None, :])

    def pairs(of_MM: npt.NDArray[Any]) -> Scores:
        sums: Scores = ((counts_DM @ of_MM) * counts_DM).sum(1)
        return sums

    apart = pairs(signs_first_MM**2) * pairs(signs_second_MM**2)
    agreement = pairs(signs_first_MM * signs_second_MM)
    out = np.full(len(counts_DM), np.nan)
    np.divide(agreement, np.sqrt(apart), out=out, where=apart > 0)
    return out


def resamples(count: int, draws: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A bootstrap: per draw (rows) how often each item (columns) is in it."""
    if count == 0:
        return np.zeros((draws, 0), dtype=np.int64)
    return rng.multinomial(count, np.full(count, 1 / count), size=draws)


def interval(values: npt.NDArray[np.float64]) -> tuple[float | None, float | None]:
    """The central CONFIDENCE share of bootstrap values, without the undefined ones."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None, None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Certificate:
    """What is known about how well indicators order architectures.

    Attributes:
        count: architectures with ground truth.
        tau: per indicator and baseline.
        best_baseline: the one with the highest tau; None without ground truth.
        beats: per indicator whether it beats the best baseline.
        margins: per indicator and baseline the difference of their taus, with its interval over
            the same resamples. One beats the other where that interval lies above 0.
    """

    count: int
    tau: Mapping[str, Tau]
    best_baseline: str | None
    beats: Mapping[str, bool]
    margins: Mapping[str, Mapping[str, Tau]]

    def statement(self, indicator: str) -> str:
        """In plain words, what the evidence says about one indicator."""
        found = self.tau[indicator]
        if self.best_baseline is None or None in (found.value, found.low, found.high):
            return (
                f"There is no evidence on how well {indicator} orders architectures: it was "
                f"compared on {self.count} architectures trained on their own."
            )
        return (
            f"On {self.count} architectures trained on their own, {indicator} has tau "
            f"{found.value:.2f} ({CONFIDENCE:.0%} interval {found.low:.2f} to {found.high:.2f}): "
            f"on this evidence its ranking {self._verdict(indicator)}."
        )

    def _verdict(self, indicator: str) -> str:
        """Which baselines it beats and which it is not shown to beat, each with its tau."""
        beaten: list[str] = []
        others: list[str] = []
        blind: list[str] = []
        for name in dict.fromkeys([*NAMED, self.best_baseline or ""]):
            value = self.tau[name].value if name in self.tau else None
            best = "the best baseline, " if name == self.best_baseline else ""
            if value is None:
                blind.append(f"{NAMED.get(name, name)} tells none of them apart")
                continue
            told = f"{best}{NAMED.get(name, name)} (tau {value:.2f})"
            (beaten if _above(self.margins[indicator][name]) else others).append(told)
        parts = [f"beats {_listed(beaten, 'and')}"] if beaten else []
        parts += [f"is not shown to beat {_listed(others, 'or')}"] if others else []
        return "; ".join([" and ".join(parts), *blind])

    def to_json(self) -> dict[str, Any]:
        """Plain values for `certificate.json`."""
        return {
            "num_architectures": self.count,
            "tau": {name: tau.to_json() for name, tau in self.tau.items()},
            "best_baseline": self.best_baseline,
            "beats_best_baseline": dict(self.beats),
            "tau_above": {
                name: {baseline: tau.to_json() for baseline, tau in margins.items()}
                for name, margins in self.margins.items()
            },
        }


def certify(
    truth: Sequence[float],
    scores: Mapping[str, Sequence[float]],
    draws: int,
    rng: np.random.Generator,
) -> Certificate:
    """Judge indicators and baselines by ground truth.

    Args:
        truth: accuracy of each architecture trained on its own, shape (m,).
        scores: per indicator and per name in BASELINES, the same architectures' scores; higher
            is better.
        draws: bootstrap resamples.
        rng: of the resamples, which all scores share.
    """
    wanted = np.asarray(truth, dtype=np.float64)
    counts_DM = resamples(len(wanted), draws, rng)
    values: dict[str, npt.NDArray[np.float64]] = {}
    taus: dict[str, Tau] = {}
    for name, column in scores.items():
        found = np.asarray(column, dtype=np.float64)
        value = tau_b(wanted.tolist(), found.tolist())
        values[name] = weighted_tau_b(wanted, found, counts_DM)
        taus[name] = Tau(value, *((None, None) if value is None else interval(values[name])))
    known = [name for name in BASELINES if taus[name].value is not None]
    best = max(known, key=lambda name: taus[name].value or 0.0, default=None)
    judged = [name for name in scores if name not in BASELINES]
    margins = {
        name: {base: _margin(taus[name], taus[base], values[name] - values[base]) for base in known}
        for name in judged
    }
    beats = {name: best is not None and _above(margins[name][best]) for name in judged}
    return Certificate(len(wanted), taus, best, beats, margins)


def _margin(one: Tau, other: Tau, differences: Scores) -> Tau:
    """How far one tau lies above another, over the same resamples."""
    if one.value is None or other.value is None:
        return Tau(None, None, None)
    return Tau(one.value - other.value, *interval(differences))


def _above(margin: Tau) -> bool:
    return margin.low is not None and margin.low > 0


def _listed(words: Sequence[str], joint: str) -> str:
    *most, last = words
    return f"{', '.join(most)} {joint} {last}" if most else last


def mean_ranks(scores: Mapping[str, Sequence[float]]) -> list[float]:
    """One score of several: the mean over indicators of the share of items ranked below.

    Ranks have no unit, so an accuracy and a sum of gammas can be joined (a Borda count); ties
    share their mean rank.

    Args:
        scores: per indicator, of the same items; higher is better.

    Returns:
        Per item 0 (last by every indicator) to 1 (first by every one); 0.5 for a single item.
    """
    from scipy.stats import rankdata  # a second, which whoever only reads certificates is spared

    ranks = np.array([rankdata(column) for column in scores.values()]) - 1.0
    most = ranks.shape[1] - 1
    shares: list[float] = (ranks.mean(0) / most if most else np.full(ranks.shape[1], 0.5)).tolist()
    return shares
