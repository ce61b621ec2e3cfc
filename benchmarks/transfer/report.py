"""What the searches of the transfer benchmark show: tables, and the samples a start saves."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.harness.compare import Difference, spread_of
from benchmarks.harness.markdown import table

MARGIN = 0.01
"""Nats by which an answer may be worse and still count as equal: the least by which subnets
differ that the search's update is made for (`models/search/algorithms/fp_nas.py`)."""
PAIRS = (
    ("transferred", "uniform"),
    ("transferred", "shuffled"),
    ("transferred", "costs"),
    ("costs", "uniform"),
    ("shuffled", "uniform"),
)
"""The starts compared."""

Runs = Sequence[Mapping[str, Any]]
"""One run a seed, the same seeds in the same order for all."""


class Look(NamedTuple):
    """All seeds' answers after one step."""

    step: int
    samples: float
    nll: list[float]


def looks(runs: Runs) -> list[Look]:
    """The looks that all seeds have in common."""
    return [
        Look(
            at[0]["step"],
            statistics.fmean(one["samples"] for one in at),
            [one["nll"] for one in at],
        )
        for at in zip(*(run["looks"] for run in runs), strict=True)
    ]


class Equal(NamedTuple):
    """From which look on a search's answers are as good as a reference's.

    Attributes:
        by_mean: the first from which on their mean is no higher; None where there is none.
        shown: the first from which on the interval's upper end stays below the margin.
    """

    by_mean: Look | None
    shown: Look | None


def equal(found: Sequence[Look], reference: Sequence[float]) -> Equal:
    """Compare every look with the reference, seed by seed."""
    gaps = [Difference.of(look.nll, reference) for look in found]
    return Equal(
        _from_on(found, [gap.mean <= 0 for gap in gaps]),
        _from_on(found, [gap.below(MARGIN) for gap in gaps]),
    )


def _from_on(found: Sequence[Look], holds: Sequence[bool]) -> Look | None:
    """The first look at which it holds and after which it never fails."""
    first: Look | None = None
    for look, good in zip(reversed(found), reversed(holds), strict=True):
        if not good:
            break
        first = look
    return first


def report(
    content: Mapping[str, Any], algorithms: Sequence[str], start_weight: float
) -> dict[str, str]:
    """Sections of Markdown by heading."""
    seeds = content["seeds"]
    runs = {key: [seed["runs"][key] for seed in seeds] for key in seeds[0]["runs"]}
    named = ", ".join(str(seed["seed"]) for seed in seeds)
    sections = {}
    for name in algorithms:
        keys = [key for key in runs if key.startswith(f"{name} ")]
        own = {key.removeprefix(f"{name} "): runs[key] for key in keys}
        beside = own | {"random": runs["random"]}
        sections[f"Starts of `{name}`"] = (
            f"NLL of the answer on all validation images, seeds {named}, start weight "
            f"{start_weight:g}; in brackets the samples until then.\n\n"
            f"{_courses(beside)}\n\n{_whole(own)}\n\n{_saved(beside)}"
        )
    sections["What the small problem costs"] = _costs(content, algorithms)
    return sections


def _courses(runs: Mapping[str, Runs]) -> str:
    """A row a look, a column a start."""
    columns = [looks(found) for found in runs.values()]
    rows = [
        [
            str(at[0].step),
            *(f"{spread_of(look.nll, 4)} ({look.samples:.0f})" for look in at),
        ]
        for at in zip(*columns, strict=True)
    ]
    entropies = [
        "-" if found[0]["looks"][0]["entropy"] is None
        else f"{statistics.fmean(run['looks'][0]['entropy'] for run in found):.1f} nats"
        for found in runs.values()
    ]  # fmt: skip
    return table(("step", *runs), [*rows, ["entropy at the start", *entropies]])


def _whole(runs: Mapping[str, Runs]) -> str:
    """Differences of the mean over all looks but the first, which looks at no image."""
    means = {
        start: [statistics.fmean(look["nll"] for look in run["looks"][1:]) for run in found]
        for start, found in runs.items()
    }
    rows = []
    for better, than in PAIRS:
        if better in means and than in means:
            saved = Difference.of(means[than], means[better])
            rows.append([f"`{better}` over `{than}`", saved.shown(4), saved.verdict])
    return "NLL saved, mean over the looks from the second on, paired over seeds:\n\n" + table(
        ("start", "mean, nats (95% interval)", "verdict"), rows
    )


def _saved(runs: Mapping[str, Runs]) -> str:
    """How soon each start is as good as the uniform one at its end."""
    courses = {start: looks(found) for start, found in runs.items()}
    last = courses["uniform"][-1]
    rows = []
    for start, course in courses.items():
        found = equal(course, last.nll)
        gap = Difference.of(course[-1].nll, last.nll)
        rows.append(
            [
                f"`{start}`",
                _words(found.by_mean, last),
                _words(found.shown, last),
                f"{gap.mean:+.4f} (at most {gap.interval(0.9)[1]:+.4f})",
            ]
        )
    head = ("start", "mean no higher, from", f"shown equal to {MARGIN:g} nats, from", "at its end")
    return (
        f"As good as `uniform` after all its {last.samples:.0f} samples (share of them saved):\n\n"
        f"{table(head, rows)}"
    )


def _words(look: Look | None, last: Look) -> str:
    if look is None:
        return "never"
    return f"step {look.step}, {look.samples:.0f} samples ({1 - look.samples / last.samples:.0%})"


def _costs(content: Mapping[str, Any], algorithms: Sequence[str]) -> str:
    """Multiply-accumulates of everything, as shares of the large problem's supernet."""
    seeds, whole = content["seeds"], content["training_macs"]
    training = statistics.fmean(seed["small_training_macs"] for seed in seeds)
    rows = [
        ["large supernet, trained (needed in any case)", "-", _tera(whole), "1.000"],
        ["small supernet, trained", "-", _tera(training), f"{training / whole:.3f}"],
    ]
    for name in algorithms:
        small = [seed["small"][name]["transferred"] for seed in seeds]
        large = [seed["runs"][f"{name} uniform"] for seed in seeds]
        searched = [
            ("small search", statistics.fmean(one["samples"] for one in small), _macs(small)),
            ("large search from uniform", looks(large)[-1].samples, _macs(large)),
        ]
        rows += [
            [f"`{name}`, {work}", f"{samples:.0f}", _tera(macs), f"{macs / whole:.3f}"]
            for work, samples, macs in searched
        ]
    head = ("work", "samples", "tera-MACs", "of the large supernet's training")
    return (
        "Counted in multiply-accumulates, a training step as three forward passes, from the mean "
        f"over uniformly random paths.\n\n{table(head, rows)}"
    )


def _macs(runs: Runs) -> float:
    return statistics.fmean(run["macs"] for run in runs)


def _tera(macs: float) -> str:
    return f"{macs / 1e12:.3f}"
