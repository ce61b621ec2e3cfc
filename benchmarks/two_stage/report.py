"""What the runs of `benchmarks.two_stage` say, as Markdown."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import kendalltau

from benchmarks.harness.compare import differences_table, spread_of
from benchmarks.harness.markdown import table

ONE, SHORT, TWO, RANDOM = "one stage", "one stage, short", "two stages", "random"
ARMS = (ONE, SHORT, TWO, RANDOM)
COMPARED = (
    (TWO, ONE),
    (SHORT, ONE),
    (TWO, SHORT),
    (ONE, RANDOM),
    (SHORT, RANDOM),
    (TWO, RANDOM),
)
"""The differences reported, all decided before any was seen."""
_SIZES = {"flops": "million MACs", "parameters": "thousand parameters", "layers": "layers"}
_UNITS = {"flops": 1e6, "parameters": 1e3, "layers": 1}

Run = Mapping[str, Any]


def report(runs: Sequence[Run], args: argparse.Namespace) -> str:
    """The arms, their differences seed by seed, and how the supernets rank random networks."""
    seeds = ",".join(map(str, args.seeds))
    head = ("search", "supernet steps", "networks", *_SIZES.values(), "test accuracy %")
    return "\n\n".join(
        [
            f"`python -m benchmarks.two_stage --device {args.device} --steps {args.steps} --seeds "
            f"{seeds} --epochs {args.epochs:g}`; {args.evaluations} evaluations a search, "
            f"{args.draws} random networks a seed; every answer trained from scratch for "
            f"{args.epochs:g} epochs. Means and standard deviations over single networks.",
            table(head, [arm_row(arm, of(runs, arm)) for arm in ARMS]),
            "Differences are taken seed by seed, of the random networks from their mean; 95% "
            f"intervals are Student's over {len(args.seeds)} seeds, one by one: of six, one may "
            "well be wrong.",
            differences_table({arm: by_seed(runs, arm) for arm in ARMS}, COMPARED),
            trust(runs),
        ]
    )


def of(runs: Sequence[Run], arm: str) -> list[Run]:
    """One arm's runs."""
    return [run for run in runs if run["arm"] == arm]


def by_seed(runs: Sequence[Run], arm: str) -> list[float]:
    """An arm's accuracy per seed, a mean where a seed has several networks."""
    found: dict[int, list[float]] = {}
    for run in of(runs, arm):
        found.setdefault(run["seed"], []).append(run["accuracy"])
    return [statistics.fmean(found[seed]) for seed in sorted(found)]


def arm_row(arm: str, runs: Sequence[Run]) -> list[str]:
    """Steps, sizes and accuracy of an arm."""
    return [
        arm,
        str(runs[0]["steps"]),
        str(len(runs)),
        *(spread_of([run[key] / _UNITS[key] for run in runs], 1) for key in _SIZES),
        spread_of([100 * run["accuracy"] for run in runs], 2),
    ]


def trust(runs: Sequence[Run]) -> str:
    """How supernets and plain sizes order the random networks, and how training does."""
    networks = of(runs, RANDOM)
    trained = [run["accuracy"] for run in networks]
    orders = {
        f"NLL of {arm} ({of(runs, arm)[0]['steps']} steps)": [
            negatives(run, networks) for run in of(runs, arm)
        ]
        for arm in (ONE, SHORT)
    }
    sizes = {key: [float(run[key]) for run in networks] for key in _SIZES}
    orders |= {name: [sizes[key]] for key, name in _SIZES.items()}
    rows = [
        [
            name,
            *(
                spread_of([tau(one, other) for one in order], 2)
                for other in (trained, *sizes.values())
            ),
        ]
        for name, order in orders.items()
    ]
    return (
        f"The {len(networks)} random networks reach {100 * min(trained):.2f} to "
        f"{100 * max(trained):.2f}%. Kendall's tau of orders of them, over the supernets where "
        "there are several; a lower NLL counts as more.\n\n"
        + table(("order by", "trained accuracy", *_SIZES.values()), rows)
    )


def negatives(run: Run, networks: Sequence[Run]) -> list[float]:
    """What a run's supernet says of networks, higher being better."""
    return [-run["judged"][network["architecture_id"]] for network in networks]


def tau(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's tau-b."""
    return float(kendalltau(one, other).statistic)
