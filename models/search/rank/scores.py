"""Scores of a search's candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.checkpoint import Checkpoint
from core.errors import UserError
from core.progress import Progress
from models.predict.ranking import mean_ranks
from models.search.candidates import Candidate
from models.search.rank.indicators import (
    AGGREGATE,
    PREDICTED,
    Evidence,
    available,
)
from models.search.rank.settings import RankParams


@dataclass(frozen=True)
class Ranked:
    """A candidate with every indicator's score."""

    candidate: Candidate
    scores: Mapping[str, float]


def require_available(evidence: Evidence, params: RankParams) -> None:
    """Check that the data of all requested indicators are available.

    Raises:
        UserError: the accuracy predictor is requested, but there is none.
    """
    requested = (params.indicator, *params.aggregate)
    if PREDICTED in requested and isinstance(evidence.predictor, str):
        raise UserError(
            f"the section rank uses the indicator {PREDICTED}, but {evidence.predictor} "
            "Raise search.steps, or select another indicator."
        )


def with_aggregate(ranked: Sequence[Ranked], names: Sequence[str]) -> list[Ranked]:
    """Add the mean rank of the named scores to each candidate, keeping the order."""
    joined = mean_ranks({name: [one.scores[name] for one in ranked] for name in names})
    return [
        Ranked(one.candidate, {**one.scores, AGGREGATE: score})
        for one, score in zip(ranked, joined, strict=True)
    ]


def sort_by(candidates: Sequence[Ranked], indicator: str) -> list[Ranked]:
    """Sort candidates from best to worst; ties keep the input order."""
    return sorted(candidates, key=lambda ranked: -ranked.scores[indicator])


def evaluate_candidates(
    candidates: Sequence[Candidate], evidence: Evidence, params: RankParams, checkpoint: Checkpoint
) -> list[Ranked]:
    """Score all candidates; best first.

    A checkpoint follows every candidate, so a killed run repeats at most one of them.
    """
    scores: dict[str, dict[str, float]] = (checkpoint.load() or {"scores": {}})["scores"]
    with Progress("rank", len(candidates), len(scores)) as progress:
        for architecture in (candidate.architecture for candidate in candidates):
            if architecture.id in scores:
                continue
            scores[architecture.id] = {
                name: score(evidence, architecture) for name, score in available(evidence).items()
            }
            checkpoint.save({"scores": scores})
            progress.update(len(scores), scores[architecture.id])
    scored = [Ranked(c, scores[c.architecture.id]) for c in candidates]
    return sort_by(with_aggregate(scored, params.aggregate), params.indicator)
