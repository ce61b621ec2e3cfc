"""Selection of the operators for a device in each layer, and tables of their scores.

HURRICANE's first step: every operator is measured on the device in every layer's setting and
scored by capacity per cost; the top-k form the device's search space.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from models.search.problem import OperatorCosts, Pool
from models.space.groups import Group

COLUMNS = ("layer", "operator", "rank", "score", "cost", "flops", "parameters", "kept", "why")


@dataclass(frozen=True)
class Scored:
    """One operator in one layer.

    Attributes:
        candidate: its index in the layer's group.
        costs: its costs.
        score: capacity per cost, as a share of the layer's best; None if it has no weights.
        rank: by score, starting at 1; None without a score.
    """

    candidate: int
    costs: OperatorCosts
    score: float | None
    rank: int | None


def score_operators(operators: Sequence[OperatorCosts]) -> list[Scored]:
    """Score a layer's operators; best first, those without a score last.

    Capacity is the geometric mean of multiply-accumulates and parameters: each alone
    would prefer large feature maps or wide layers.
    """
    least = 1e-6 * max((abs(costs.cost) for costs in operators), default=0.0) or 1.0
    raw = {
        number: math.sqrt(costs.flops * costs.parameters) / max(costs.cost, least)
        for number, costs in enumerate(operators)
        if costs.flops > 0 and costs.parameters > 0
    }
    order = sorted(raw, key=lambda number: (-raw[number], number))
    best = raw[order[0]] if order else 1.0
    ranked = [
        Scored(number, operators[number], raw[number] / best, rank)
        for rank, number in enumerate(order, start=1)
    ]
    rest = [Scored(n, costs, None, None) for n, costs in enumerate(operators) if n not in raw]
    return ranked + rest


def kept_operators(layer: Sequence[Scored], count: int) -> dict[int, str]:
    """Select a layer's candidates to keep, each with the reason.

    Besides the top `count` by score, the operator with the smallest cost is kept, so that budgets
    feasible in the whole space stay feasible, and operators without weights, because skipping
    layers reduces depth.
    """
    kept = {one.candidate: "no weights" for one in layer if one.rank is None}
    ranked = [one for one in layer if one.rank is not None]
    if ranked:
        smallest = min(ranked, key=lambda one: (one.costs.cost, one.candidate))
        kept[smallest.candidate] = "cheapest"
    for one in ranked[:count]:
        kept[one.candidate] = "score"
    return kept


def operators_csv(pool: Pool, groups: Sequence[Group], count: int) -> bytes:
    """Format the operators of every layer as CSV, best score first; `count` are kept by score."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name if name != "cost" else pool.unit for name in COLUMNS])
    for group, operators in zip(groups, pool.operators, strict=True):
        layer = score_operators(operators)
        kept = kept_operators(layer, count)
        writer.writerows(_row(group.name, one, kept) for one in layer)
    return text.getvalue().encode()


def operators_md(pool: Pool, groups: Sequence[Group], count: int, requested: int) -> bytes:
    """Format the operators as Markdown: first the kept ones per layer, then all scores.

    `count` are kept by score: as many as `requested`, or more if the budgets need them.
    """
    more = "" if count == requested else f" ({requested} requested, but these meet no budget)"
    header = "| " + " | ".join(name if name != "cost" else pool.unit for name in COLUMNS[1:]) + " |"
    lines = [
        "# Operators per layer",
        "",
        f"Score: square root of FLOPs x parameters, per {pool.unit}, as a share of the layer's "
        f"best. Kept: the {count} with the highest score{more}, the one of lowest cost, and those "
        "without weights.",
        "",
        "| layer | kept, best first |",
        "| --- | --- |",
    ]
    layers = [
        (group.name, score_operators(operators))
        for group, operators in zip(groups, pool.operators, strict=True)
        if operators
    ]
    for name, layer in layers:
        kept = kept_operators(layer, count)
        words = [
            one.costs.label + ("" if one.score is None else f" ({one.score:.2f})")
            for one in layer
            if one.candidate in kept
        ]
        lines.append(f"| {name} | {'; '.join(words)} |")
    for name, layer in layers:
        kept = kept_operators(layer, count)
        lines += ["", f"## {name}", "", header, "| --- " * len(COLUMNS[1:]) + "|"]
        lines += ["| " + " | ".join(map(str, _row(name, one, kept)[1:])) + " |" for one in layer]
    return ("\n".join(lines) + "\n").encode()


def _row(layer: str, one: Scored, kept: dict[int, str]) -> list[object]:
    why = kept.get(one.candidate)
    return [
        layer,
        one.costs.label,
        "" if one.rank is None else one.rank,
        "" if one.score is None else f"{one.score:.4f}",
        f"{one.costs.cost:.6g}",
        f"{one.costs.flops:.0f}",
        f"{one.costs.parameters:.0f}",
        "no" if why is None else "yes",
        why or "",
    ]
