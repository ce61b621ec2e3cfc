"""What the answers of searches are worth by the supernet's own measure, as Markdown.

Regret is an answer's NLL minus the lowest of any answer of any algorithm and seed. Intervals are
Student's t, paired over the seeds.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness.compare import Difference, spread_of
from benchmarks.harness.markdown import table

RANDOM, FP_NAS, REFERENCE = "random", "fp_nas", "parsec"
MARGIN = 0.003
"""Nats below which a difference is none: a fifth of the spread of random networks within the
budget, and what the answers of one algorithm differ by from seed to seed."""
_MILLI = 1e3

Run = Mapping[str, Any]


def answers_compared(run: Run, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Those of a run's answers that are compared: at the evaluations of runs with its seed."""
    counts = {other["sampled"] for other in runs if other["seed"] == run["seed"]}
    compared = [answer_at(run, count) for count in counts]
    return [answer for answer in run["answers"] if answer in compared]


def answer_at(run: Run, samples: int) -> dict[str, Any]:
    """A run's answer after at most so many evaluations (its first answer, if fewer)."""
    made = [one for one in run["answers"] if one["samples"] <= samples]
    found: dict[str, Any] = (made or run["answers"])[-1 if made else 0]
    return found


def final(runs: Sequence[Run], key: str) -> list[float]:
    """A number of every run's last answer."""
    return [run["answers"][-1][key] for run in runs]


def over_random(chance: Sequence[Run], runs: Sequence[Run], key: str) -> Difference:
    """An algorithm's number minus random search's, same seeds, as many evaluations."""
    by_seed = {run["seed"]: run for run in chance}
    equal = [answer_at(by_seed[run["seed"]], run["sampled"])[key] for run in runs]
    return Difference.of(final(runs, key), equal)


def report(runs: Mapping[str, Sequence[Run]]) -> str:
    """What answers are worth, which algorithms beat random search, and FP-NAS against others."""
    chance, rivals = runs[RANDOM], {n: found for n, found in runs.items() if n != RANDOM}
    longest = max(run["sampled"] for found in rivals.values() for run in found)
    cut = [{**one, "sampled": longest, "answers": [answer_at(one, longest)]} for one in chance]
    rows = rivals | {RANDOM: cut}
    least = min(min(final(found, "nll")) for found in rows.values())
    reference = rows.get(REFERENCE)
    parts = [
        table(_HEAD, [_worth(name, found, least, reference) for name, found in rows.items()]),
        "Against random search with as many evaluations, paired over the seeds, with the 95% "
        "interval; NLL in thousandths of a nat, less is better:",
        table(
            ("algorithm", "NLL over random", "", "accuracy points over random"),
            [_against_random(name, chance, found) for name, found in rivals.items()],
        ),
    ]
    own = rivals.get(FP_NAS, ())
    pairs = [_fp_nas(own, n, others) for n, others in rivals.items() if own and n != FP_NAS]
    if pairs:
        parts += [
            "FP-NAS minus others, paired over the seeds, NLL in thousandths of a nat, with the 90% "
            f"interval; no worse where it ends below +{_MILLI * MARGIN:g}, better where it ends "
            "below 0:",
            table(("minus", "samples", "NLL", ""), pairs),
        ]
    return "\n\n".join(parts)


_HEAD = (
    "algorithm",
    "sampled",
    "distinct",
    "seconds",
    "time over PARSEC",
    "million MACs",
    "NLL",
    "regret, thousandths of a nat",
    "accuracy %",
    "test accuracy %",
)


def _worth(
    name: str, found: Sequence[Run], least: float, reference: Sequence[Run] | None
) -> list[str]:
    nll, ratio, trained = final(found, "nll"), "-", "-"
    if reference:
        pairs = zip(found, reference, strict=True)
        ratio = f"{statistics.median(a['seconds'] / b['seconds'] for a, b in pairs):.2f}"
    if "accuracy" in found[0]:
        trained = spread_of([100 * run["accuracy"] for run in found], 2)
    return [
        f"`{name}`",
        spread_of([run["sampled"] for run in found], 0),
        spread_of([run["distinct"] for run in found], 0),
        spread_of([run["seconds"] for run in found], 1),
        ratio,
        spread_of([run["flops"] / 1e6 for run in found], 2),
        spread_of(nll, 4),
        spread_of([_MILLI * (value - least) for value in nll], 1),
        spread_of([100 * value for value in final(found, "val_accuracy")], 2),
        trained,
    ]


def _against_random(name: str, chance: Sequence[Run], found: Sequence[Run]) -> list[str]:
    nll, right = (over_random(chance, found, key) for key in ("nll", "val_accuracy"))
    verdict = {"worse": "better", "better": "worse"}.get(nll.verdict, "undecided")  # less is better
    return [f"`{name}`", nll.shown(1, _MILLI), verdict, right.shown(2, 100)]


def _fp_nas(own: Sequence[Run], other: str, others: Sequence[Run]) -> list[str]:
    gap = Difference.of(final(own, "nll"), final(others, "nll"))
    verdict = "better" if gap.below(0) else "no worse" if gap.below(MARGIN) else "not shown"
    counts = [statistics.fmean(run["sampled"] for run in some) for some in (own, others)]
    samples = f"{counts[0]:.0f} against {counts[1]:.0f}"
    return [f"`{other}`", samples, gap.shown(1, _MILLI, 0.9), verdict]
