"""Scores of a search's candidates, and the ground truth of some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from core.checkpoint import Checkpoint
from core.errors import UserError
from core.progress import Progress
from data.stream import TrainStream
from models.nets.evaluate import accuracy, recalibrate
from models.nets.subnet import Subnet
from models.predict.ranking import mean_ranks
from models.search.candidates import Candidate
from models.search.rank.indicators import (
    AGGREGATE,
    PREDICTED,
    Evidence,
    available,
)
from models.search.rank.settings import RankParams
from models.space.architecture import Architecture
from models.training.learning import Images
from models.training.loop import Recipe, Run, train
from models.training.objective import Objective, supervised_step

T = TypeVar("T")


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
    candidates: Sequence[Candidate],
    evidence: Evidence,
    images: Images,
    params: RankParams,
    checkpoint: Checkpoint,
) -> tuple[list[Ranked], dict[str, float]]:
    """Score and rank all candidates, then train some from scratch.

    A checkpoint follows every score and training, so a killed run repeats at most one of them.

    Returns:
        The candidates, best first, and the accuracy of each one trained, by architecture id.
    """
    state = checkpoint.load() or {"scores": {}, "truth": {}}
    scores: dict[str, dict[str, float]] = state["scores"]
    truth: dict[str, float] = state["truth"]
    trained = min(params.truth_architectures, len(candidates))
    stream = TrainStream(images.train, images.info, params.truth_batch, params.seed, augment=True)
    with Progress("rank", len(candidates) + trained, len(scores) + len(truth)) as progress:
        for architecture in _missing(candidates, scores):
            scores[architecture.id] = {
                name: score(evidence, architecture) for name, score in available(evidence).items()
            }
            checkpoint.save(state)
            progress.update(len(scores), scores[architecture.id])
        scored = [Ranked(c, scores[c.architecture.id]) for c in candidates]
        ranked = sort_by(with_aggregate(scored, params.aggregate), params.indicator)
        for architecture in _missing([r.candidate for r in evenly_spaced(ranked, trained)], truth):
            truth[architecture.id] = train_from_scratch(architecture, stream, evidence, params)
            checkpoint.save(state)
            progress.update(len(scores) + len(truth), {"accuracy": truth[architecture.id]})
    return ranked, truth


def _missing(candidates: Sequence[Candidate], known: Mapping[str, Any]) -> list[Architecture]:
    """The architectures that a resumed run still has to process."""
    return [c.architecture for c in candidates if c.architecture.id not in known]


def evenly_spaced(ordered: Sequence[T], count: int) -> list[T]:
    """`count` evenly spaced items, including first and last; all if there are fewer."""
    if count >= len(ordered):
        return list(ordered)
    if count == 1:
        return [ordered[0]]
    return [ordered[round(i * (len(ordered) - 1) / (count - 1))] for i in range(count)]


def train_from_scratch(
    architecture: Architecture,
    stream: TrainStream,
    evidence: Evidence,
    params: RankParams,
) -> float:
    """Train for `truth_steps` steps from scratch and return the held-out accuracy.

    A short training ranks architectures by learning speed as much as by final accuracy, so it is
    weak evidence, but it is independent of the supernet.
    """
    generator = torch.Generator().manual_seed(params.seed)
    network = Subnet(architecture, generator).to(memory_format=torch.channels_last)
    run = Run(network, Recipe(params.truth_steps, params.truth_learning_rate))
    train(run, stream.at, supervised_step(network, Objective(architecture.classes)))
    recalibrate(network, evidence.calibration)
    return accuracy(network.eval(), evidence.held_out)
