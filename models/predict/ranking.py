"""Ranking quality: Kendall's tau-b with bootstrap intervals, compared with baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from core.artifact import Record, Rounded

SCHEMA = "netwright/ranking/1"
BASELINES = ("depth", "flops", "parameters", "random")
"""Baselines that an indicator should beat: network size and random order."""
BASELINE_LABELS = {"depth": "depth", "flops": "FLOPs"}
"""Labels of the baselines that every statement mentions."""
CONFIDENCE = 0.95

Scores = npt.NDArray[np.float64]


class Tau(Record):
    """Kendall's tau-b with its bootstrap interval; None where undefined."""

    value: Rounded
    low: Rounded
    high: Rounded

    @classmethod
    def of(cls, value: float | None, resampled_D: Scores) -> Tau:
        """A value with the percentile interval of its bootstrap resamples, ignoring NaN."""
        known = resampled_D[~np.isnan(resampled_D)]
        if value is None or not len(known):
            return cls(value=value, low=None, high=None)
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(known, [tail, 1 - tail]).tolist()
        return cls(value=value, low=low, high=high)

    @property
    def positive(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low is not None and self.low > 0


def tau_b(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b: rank correlation, -1 to 1, corrected for ties.

    None where undefined: fewer than two values, or all values of one side equal.
    """
    once = np.ones((1, len(first)), dtype=np.int64)
    value = float(weighted_tau_b(np.asarray(first), np.asarray(second), once)[0])
    return None if np.isnan(value) else value


def weighted_tau_b(first: Scores, second: Scores, counts_DM: npt.NDArray[np.int64]) -> Scores:
    """tau-b of D bootstrap resamples, each given by the counts of the M items.

    Over all pairs, concordant minus discordant pairs, divided by the geometric mean of the numbers
    of pairs not tied in `first` and in `second`; copies of one item are tied in both. Shape (D,);
    NaN where all pairs of one side are tied.
    """
    signs_first_MM = np.sign(first[:, None] - first[None, :])
    signs_second_MM = np.sign(second[:, None] - second[None, :])

    def pairs(of_MM: npt.NDArray[Any]) -> Scores:
        sums: Scores = ((counts_DM @ of_MM) * counts_DM).sum(1)
        return sums

    untied = pairs(signs_first_MM**2) * pairs(signs_second_MM**2)
    agreement = pairs(signs_first_MM * signs_second_MM)
    out = np.full(len(counts_DM), np.nan)
    np.divide(agreement, np.sqrt(untied), out=out, where=untied > 0)
    return out


def resamples(count: int, draws: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Bootstrap counts: per draw (rows) how often each item (columns) occurs."""
    if count == 0:
        return np.zeros((draws, 0), dtype=np.int64)
    return rng.multinomial(count, np.full(count, 1 / count), size=draws)


class Certificate(Record):
    """Evidence on the ranking quality of indicators."""

    num_architectures: int
    """Number of architectures with ground truth."""
    tau: dict[str, Tau]
    """Per indicator and baseline."""
    best_baseline: str | None
    """The one with the highest tau; None without ground truth."""
    beats_best_baseline: dict[str, bool]
    """Per indicator."""
    tau_above: dict[str, dict[str, Tau]]
    """Per indicator and baseline: the difference of their taus with its interval, over the same
    resamples. The indicator beats the baseline if the interval is above 0."""

    def describe(self, indicator: str) -> str:
        """A sentence that summarises the evidence on one indicator."""
        found = self.tau[indicator]
        if self.best_baseline is None or None in (found.value, found.low, found.high):
            return (
                f"There is no evidence on how well {indicator} orders architectures: it was "
                f"compared on {self.num_architectures} trained architectures."
            )
        return (
            f"On {self.num_architectures} trained architectures, {indicator} has tau "
            f"{found.value:.2f} ({CONFIDENCE:.0%} interval {found.low:.2f} to {found.high:.2f}): "
            f"on this evidence its ranking {self._verdict(indicator)}."
        )

    def _verdict(self, indicator: str) -> str:
        """Baselines it beats and does not significantly beat, each with its tau."""
        beaten: list[str] = []
        others: list[str] = []
        constant: list[str] = []
        for name in dict.fromkeys([*BASELINE_LABELS, self.best_baseline or ""]):
            value = self.tau[name].value if name in self.tau else None
            best = "the best baseline, " if name == self.best_baseline else ""
            if value is None:
                constant.append(f"{BASELINE_LABELS.get(name, name)} is equal for all of them")
                continue
            label = f"{best}{BASELINE_LABELS.get(name, name)} (tau {value:.2f})"
            (beaten if self.tau_above[indicator][name].positive else others).append(label)
        parts = [f"beats {_enumerate(beaten, 'and')}"] if beaten else []
        parts += [f"is not shown to beat {_enumerate(others, 'or')}"] if others else []
        return "; ".join([" and ".join(parts), *constant])


def certify(
    truth: Sequence[float],
    scores: Mapping[str, Sequence[float]],
    draws: int,
    rng: np.random.Generator,
) -> Certificate:
    """Evaluate indicators and baselines against ground truth.

    Args:
        truth: stand-alone accuracy of each architecture.
        scores: of the same architectures, by indicator and name in BASELINES; higher is better.
        draws: number of bootstrap resamples, which all scores share.
        rng: of the resamples.
    """
    true = np.asarray(truth, dtype=np.float64)
    counts_DM = resamples(len(true), draws, rng)
    columns = {name: np.asarray(column, dtype=np.float64) for name, column in scores.items()}
    resampled = {name: weighted_tau_b(true, column, counts_DM) for name, column in columns.items()}
    taus = {
        name: Tau.of(tau_b(truth, column.tolist()), resampled[name])
        for name, column in columns.items()
    }
    known = {name: x for name in BASELINES if (x := taus[name].value) is not None}
    best = max(known, key=lambda name: known[name], default=None)

    def margin(name: str, base: str) -> Tau:
        value = taus[name].value
        difference_D = resampled[name] - resampled[base]
        return Tau.of(None if value is None else value - known[base], difference_D)

    indicators = [name for name in scores if name not in BASELINES]
    margins = {name: {base: margin(name, base) for base in known} for name in indicators}
    return Certificate(
        num_architectures=len(true),
        tau=taus,
        best_baseline=best,
        beats_best_baseline={
            name: best is not None and margins[name][best].positive for name in indicators
        },
        tau_above=margins,
    )


def _enumerate(words: Sequence[str], joint: str) -> str:
    *most, last = words
    return f"{', '.join(most)} {joint} {last}" if most else last


def mean_ranks(scores: Mapping[str, Sequence[float]]) -> list[float]:
    """Aggregate several indicators' scores by mean normalised rank (Borda count).

    Ranks have no unit, so different indicators can be combined; ties share their mean rank. Per
    item 0 (last by every indicator) to 1 (first by every one); 0.5 for a single item.
    """
    from scipy.stats import rankdata  # imported lazily: takes a second

    ranks = np.array([rankdata(column) for column in scores.values()]) - 1.0
    most = ranks.shape[1] - 1
    shares: list[float] = (ranks.mean(0) / most if most else np.full(ranks.shape[1], 0.5)).tolist()
    return shares
