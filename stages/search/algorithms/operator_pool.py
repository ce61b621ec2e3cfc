"""Which operators suit a device in which layer, and the table that tells it to a person.

HURRICANE's first step: every operator is measured on the device in every layer's setting and
scored by what it offers for what it costs there; the best few form the device's own space.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from models.space import Group
from stages.search.problem import Offer, Pool

COLUMNS = ("layer", "operator", "rank", "score", "cost", "flops", "parameters", "kept", "why")


@dataclass(frozen=True)
class Scored:
    """One operator in one layer.

    Attributes:
        candidate: its number in the layer's group.
        offer: what it offers and costs.
        score: capacity per cost, as a share of the layer's best; None where there is no weight to
            have a capacity (a layer left out, an identity).
        rank: from 1 on, by score; None where there is none.
    """

    candidate: int
    offer: Offer
    score: float | None
    rank: int | None


def scored(offers: Sequence[Offer]) -> list[Scored]:
    """A layer's operators, from the best score on; those without one come last.

    Capacity is the geometric mean of multiply-accumulates and parameters: either alone would
    prefer large maps or wide layers.
    """
    least = 1e-6 * max((abs(offer.cost) for offer in offers), default=0.0) or 1.0
    raw = {
        number: math.sqrt(offer.flops * offer.parameters) / max(offer.cost, least)
        for number, offer in enumerate(offers)
        if offer.flops > 0 and offer.parameters > 0
    }
    order = sorted(raw, key=lambda number: (-raw[number], number))
    best = raw[order[0]] if order else 1.0
    ranked = [
        Scored(number, offers[number], raw[number] / best, rank)
        for rank, number in enumerate(order, start=1)
    ]
    rest = [Scored(n, offer, None, None) for n, offer in enumerate(offers) if n not in raw]
    return ranked + rest


def reasons(layer: Sequence[Scored], count: int) -> dict[int, str]:
    """The candidates of a layer that are kept, each with the reason.

    Besides the best `count`, the cheapest operator stays, so that the budgets which the whole
    space can meet are still met, and so does what has no weights: leaving a layer out is how a
    network gets shallow.
    """
    kept = {one.candidate: "no weights" for one in layer if one.rank is None}
    ranked = [one for one in layer if one.rank is not None]
    if ranked:
        cheapest = min(ranked, key=lambda one: (one.offer.cost, one.candidate))
        kept[cheapest.candidate] = "cheapest"
    for one in ranked[:count]:
        kept[one.candidate] = "score"
    return kept


def operators_csv(pool: Pool, groups: Sequence[Group], count: int) -> bytes:
    """Every operator of every layer, from the best score on.

    Args:
        pool: what operators offer and cost.
        groups: of the space.
        count: how many are kept per layer for their score.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name if name != "cost" else pool.unit for name in COLUMNS])
    for group, offers in zip(groups, pool.offers, strict=True):
        layer = scored(offers)
        kept = reasons(layer, count)
        writer.writerows(_row(group.name, one, kept) for one in layer)
    return text.getvalue().encode()


def operators_md(pool: Pool, groups: Sequence[Group], count: int, wished: int) -> bytes:
    """The same as text: first what was kept where, then all scores.

    Args:
        pool: what operators offer and cost.
        groups: of the space.
        count: how many are kept per layer for their score.
        wished: how many were asked for; more are kept where the budgets need them.
    """
    more = "" if count == wished else f" ({wished} were asked for, and met no budget)"
    lines = [
        "# Operators per layer",
        "",
        f"Score: square root of FLOPs x parameters, per {pool.unit}, as a share of the layer's "
        f"best. Kept: the best {count}{more}, the cheapest, and what has no weights.",
        "",
        "| layer | kept, best first |",
        "| --- | --- |",
    ]
    layers = [
        (group.name, scored(offers))
        for group, offers in zip(groups, pool.offers, strict=True)
        if offers
    ]
    for name, layer in layers:
        kept = reasons(layer, count)
        words = [_short(one) for one in layer if one.candidate in kept]
        lines.append(f"| {name} | {'; '.join(words)} |")
    for name, layer in layers:
        kept = reasons(layer, count)
        lines += ["", f"## {name}", "", _header(pool.unit), "| --- " * len(COLUMNS[1:]) + "|"]
        lines += ["| " + " | ".join(map(str, _row(name, one, kept)[1:])) + " |" for one in layer]
    return ("\n".join(lines) + "\n").encode()


def _header(unit: str) -> str:
    return "| " + " | ".join(name if name != "cost" else unit for name in COLUMNS[1:]) + " |"


def _short(one: Scored) -> str:
    score = "" if one.score is None else f" ({one.score:.2f})"
    return f"{one.offer.label}{score}"


def _row(layer: str, one: Scored, kept: dict[int, str]) -> list[object]:
    why = kept.get(one.candidate)
    return [
        layer,
        one.offer.label,
        "" if one.rank is None else one.rank,
        "" if one.score is None else f"{one.score:.4f}",
        f"{one.offer.cost:.6g}",
        f"{one.offer.flops:.0f}",
        f"{one.offer.parameters:.0f}",
        "no" if why is None else "yes",
        why or "",
    ]
