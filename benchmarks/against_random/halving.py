"""What a race loses by ending most trainings early, from networks that were all trained to the end.

Every subset of the random networks is raced on paper, with the NLLs measured at the rungs, and
compared with training all of the subset to the end.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import combinations

from benchmarks.harness.markdown import table
from benchmarks.harness.runs import Row
from models.predict.ranking import tau_b
from models.search.race.settings import RaceParams

SIZES = (4, 8)
"""Networks of a race; as many as the random networks allow."""


def race_on_paper(rows: Sequence[Row], params: RaceParams) -> tuple[Row, float]:
    """The answer of a race of these networks, and its cost in whole trainings."""
    rungs = sorted(map(int, rows[0]["nll"]))
    alive, cost, before = list(rows), 0.0, 0
    for rung in rungs:
        cost += len(alive) * (rung - before) / rungs[-1]
        before = rung
        alive.sort(key=lambda row: (row["nll"][str(rung)], row["architecture_id"]))
        if rung != rungs[-1]:
            alive = alive[: params.survivors(len(alive))]
    return alive[0], cost


def best_at_the_end(rows: Sequence[Row]) -> Row:
    """The answer of training all to the end."""
    last = str(max(map(int, rows[0]["nll"])))
    return min(rows, key=lambda row: (row["nll"][last], row["architecture_id"]))


def describe(rows: Sequence[Row], params: RaceParams) -> str:
    """Cost and loss of races of some sizes, and how early the order is known, as Markdown."""
    rungs = sorted(map(int, rows[0]["nll"]))
    final = [row["nll"][str(rungs[-1])] for row in rows]
    orders = [tau_b([row["nll"][str(rung)] for row in rows], final) for rung in rungs[:-1]]
    shown = ", ".join(
        f"{tau:+.2f} after {rung} of {rungs[-1]} steps"
        for rung, tau in zip(rungs, orders, strict=False)
        if tau is not None
    )
    lines = [_size(rows, size, params) for size in SIZES if size <= len(rows)]
    head = ("networks", "subsets", "cost, of all to the end", "same answer", "loss, points")
    return (
        f"Kendall's tau-b of the random networks' NLL with that at the end: {shown}.\n\n"
        "Every subset of the random networks, raced with the NLLs at the rungs, against training "
        "the subset to the end; the loss is the difference of the two answers' test accuracy. The "
        f"subsets overlap, so no interval is given.\n\n{table(head, lines)}"
    )


def _size(rows: Sequence[Row], size: int, params: RaceParams) -> tuple[str, ...]:
    subsets = [list(one) for one in combinations(rows, size)]
    raced = [race_on_paper(one, params) for one in subsets]
    ended = [best_at_the_end(one) for one in subsets]
    pairs = list(zip(raced, ended, strict=True))
    losses = [100 * (end["test_accuracy"] - one["test_accuracy"]) for (one, _), end in pairs]
    same = statistics.fmean(
        one["architecture_id"] == end["architecture_id"] for (one, _), end in pairs
    )
    cost = statistics.fmean(cost for _, cost in raced) / size
    return (
        str(size),
        str(len(subsets)),
        f"{cost:.0%}",
        f"{same:.0%}",
        f"{statistics.fmean(losses):+.2f}",
    )
