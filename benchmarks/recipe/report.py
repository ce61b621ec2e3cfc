"""Markdown of a question's trainings: accuracies, and paired differences to the base arm."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.harness.compare import Difference
from benchmarks.harness.markdown import number, table
from benchmarks.harness.runs import Row
from benchmarks.recipe.arms import Question
from models.predict.ranking import tau_b

Found = dict[tuple[str, int], dict[str, Row]]
"""Results by (data set and space, network) and arm."""


def describe(question: Question, found: Mapping[tuple[str, int], Mapping[str, Row]]) -> str:
    """Accuracy of every arm by data set, and its differences to the base over all networks.

    Networks without a result of the base arm are left out; an arm is compared on those it has.
    """
    whole = {key: rows for key, rows in found.items() if question.base in rows}
    places = sorted({where for where, _ in whole})
    about = ("difference, points", "verdict", "NLL difference", "averaging", "networks")
    head = ("recipe", *places, *about)
    rows = [arm_row(arm, question.base, whole, places) for arm in question.arms]
    limit = "all" if question.images is None else f"at most {question.images:,}"
    text = (
        f"Cost of {question.passes:,} images a training, {limit} training images. Validation "
        "accuracy in percent, mean over networks; the difference to "
        f"`{question.base}` is paired over networks and data sets, with Student's 95% interval. "
        "Averaging: points that averaged weights are above the last ones."
    )
    shown = f"{text}\n\n{table(head, [row for row in rows if row])}"
    return f"{shown}\n\n{rungs(question, whole)}" if question.rungs else shown


def arm_row(
    arm: str, base: str, found: Mapping[tuple[str, int], Mapping[str, Row]], places: list[str]
) -> list[str] | None:
    """One arm's line; None if it has no result."""
    pairs = {key: (rows[arm], rows[base]) for key, rows in found.items() if arm in rows}
    if not pairs:
        return None
    cells = []
    for place in places:
        here = [100 * mine["val"] for (where, _), (mine, _) in pairs.items() if where == place]
        cells.append(f"{statistics.fmean(here):.2f}" if here else "-")
    mine, other = zip(*pairs.values(), strict=True)
    gain = Difference.of([row["val"] for row in mine], [row["val"] for row in other])
    nll = Difference.of([row["nll"] for row in mine], [row["nll"] for row in other])
    shown = [gain.shown(2, 100), gain.verdict, nll.shown(4)]
    if gain.seeds < 2:
        shown = [f"{100 * gain.mean:+.2f}", "one network", f"{nll.mean:+.4f}"]
    if arm == base:
        shown = ["-", "-", "-"]
    averaging = statistics.fmean(100 * (row["val"] - row["last"]["val"]) for row in mine)
    return [f"`{arm}`", *cells, *shown, f"{averaging:+.2f}", str(len(pairs))]


def rungs(question: Question, found: Mapping[tuple[str, int], Mapping[str, Row]]) -> str:
    """How the judgement at a rung ranks networks compared with their final validation accuracy."""
    lines = []
    for place in sorted({where for where, _ in found}):
        for arm in question.arms:
            rows = [rows[arm] for (w, _), rows in found.items() if w == place and arm in rows]
            if len(rows) > 1:
                lines += [rung_row(place, arm, f"{share:g}", rows) for share in question.rungs]
    text = (
        "Networks ranked by the averaged, recalibrated weights at a share of the schedule, against "
        "their own final accuracy. The loss is the final accuracy of the best network less that of "
        "the network with the lowest NLL at the rung; the last column says whether the best one "
        "is in the better half."
    )
    head = ("data", "recipe", "rung", "tau of NLL", "tau of accuracy", "loss, points", "kept")
    return f"{text}\n\n{table(head, lines)}"


def rung_row(place: str, arm: str, share: str, rows: Sequence[Row]) -> list[str]:
    """One rung's line."""
    final = [row["val"] for row in rows]
    nll = [row["rungs"][share]["nll"] for row in rows]
    taus = [
        tau_b([-value for value in nll], final),
        tau_b([row["rungs"][share]["val"] for row in rows], final),
    ]
    best, order = final.index(max(final)), sorted(range(len(rows)), key=nll.__getitem__)
    loss = max(final) - final[order[0]]
    kept = "yes" if best in order[: -(-len(rows) // 2)] else "no"
    cells = [number(value, ".2f") for value in taus]
    return [place, f"`{arm}`", share, *cells, f"{100 * loss:.2f}", kept]
