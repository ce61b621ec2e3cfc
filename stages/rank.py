"""Rank a search's candidates, select an architecture, and certify the ranking."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.checkpoint import Checkpoint, inputs_fingerprint
from core.errors import UserError
from core.files import read_json, rounded, write_bytes, write_json
from core.process import prepare_machine
from core.progress import Progress
from core.schemas import CANDIDATES, RANKED
from core.settings import read_section
from data.stream import TrainStream, eval_batches
from models.nets.supernet import Supernet
from models.predict.picture import predictor_png
from models.predict.predictor import SCHEMA as PREDICTOR
from models.predict.ranking import SCHEMA as CERTIFICATE_SCHEMA
from models.predict.ranking import certify, mean_ranks
from models.search.choice import Choice
from models.search.rank.indicators import AGGREGATE, PREDICTED, Evidence, available
from models.search.rank.predictor import accuracy_predictor
from models.search.rank.settings import RankParams
from models.search.rank.truth import evenly_spaced, train_from_scratch
from models.space.architecture import Architecture
from models.space.costs import depth, flops, parameters
from models.space.space import SearchSpace
from models.space.stage_features import stage_sizes
from models.training.learning import Images, SearchedWeights, spread

# Separate random streams of one seed.
_RANDOM_BASELINE, _BOOTSTRAP = 0, 1


@dataclass(frozen=True)
class Candidate:
    """An architecture found by the search, with its predicted costs."""

    architecture: Architecture
    costs: Mapping[str, float | None]


@dataclass(frozen=True)
class Ranked:
    """A candidate with every indicator's score."""

    candidate: Candidate
    scores: Mapping[str, float]


def main() -> None:
    """Parse the flags, score, train the ground truth, write ranking and certificate."""
    flags = _flags()
    params = read_section(flags.params, "rank", RankParams)
    prepare_machine(params.threads, params.seed)
    candidates = read_candidates(flags.search / "candidates.json")
    images = Images.read(flags.data)
    space = SearchSpace.load(flags.space, images.info.image_shape, len(images.info.classes))
    supernet = Supernet.read(flags.supernet, space)
    SearchedWeights.read(flags.search).load_into(supernet)
    read = (flags.space, flags.data, flags.supernet, flags.search)
    checkpoint = Checkpoint(flags.out, inputs_fingerprint("rank", params, *read))
    held_out = spread(images.val, params.images)
    predictor = accuracy_predictor(flags.search / "history.csv", space, params.seed)
    evidence = Evidence(
        supernet,
        images.calibration(params.recalibration_batches, params.batch, params.seed),
        list(eval_batches(held_out, images.info, params.batch)),
        predictor if isinstance(predictor, str) else predictor.predictor,
        stage_sizes(space.groups),
    )
    require_available(evidence, params)
    if isinstance(evidence.predictor, str):
        print(f"the indicator {PREDICTED} is not available: {evidence.predictor}")
    ranked, truth = evaluate_candidates(candidates, evidence, images, params, checkpoint)
    write(flags.out, ranked, truth, params)
    choice(ranked, params.indicator).write(flags.choice)
    if not isinstance(predictor, str):
        write_json(flags.out / "predictor.json", PREDICTOR, predictor.predictor.to_json())
        write_bytes(flags.out / "predictor.png", predictor_png(predictor))
    checkpoint.clear()


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


def rank(candidates: Sequence[Ranked], indicator: str) -> list[Ranked]:
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
        ranked = rank(with_aggregate(scored, params.aggregate), params.indicator)
        for architecture in _missing([r.candidate for r in evenly_spaced(ranked, trained)], truth):
            truth[architecture.id] = train_from_scratch(
                architecture, stream, evidence.calibration, evidence.held_out, params
            )
            checkpoint.save(state)
            progress.update(len(scores) + len(truth), {"accuracy": truth[architecture.id]})
    return ranked, truth


def _missing(candidates: Sequence[Candidate], known: Mapping[str, Any]) -> list[Architecture]:
    """The architectures that a resumed run still has to process."""
    return [c.architecture for c in candidates if c.architecture.id not in known]


def write(
    out: Path, ranked: Sequence[Ranked], truth: Mapping[str, float], params: RankParams
) -> None:
    """Write `ranking.json` and `certificate.json`; equal results give equal bytes."""
    chosen = ranked[0].candidate.architecture
    write_json(
        out / "ranking.json",
        RANKED,
        {
            "chosen": {"architecture": chosen.to_json(), "architecture_id": chosen.id},
            "indicator": params.indicator,
            "aggregate": list(params.aggregate),
            "ranked": [_entry(one) for one in ranked],
        },
    )
    write_json(out / "certificate.json", CERTIFICATE_SCHEMA, certificate(ranked, truth, params))


def choice(ranked: Sequence[Ranked], indicator: str) -> Choice:
    """The best candidate as the device's own network."""
    return Choice(
        ranked[0].candidate.architecture,
        f"the best of {len(ranked)} candidates by {indicator.replace('_', ' ')}",
        ranked[0].scores["supernet_accuracy"],
    )


def certificate(
    ranked: Sequence[Ranked], truth: Mapping[str, float], params: RankParams
) -> dict[str, Any]:
    """Evaluate each indicator and the baselines against ground truth."""
    trained = [one for one in ranked if one.candidate.architecture.id in truth]
    architectures = [one.candidate.architecture for one in trained]
    rng = np.random.default_rng([params.seed, _RANDOM_BASELINE])
    scores: dict[str, list[float]] = {
        name: [one.scores[name] for one in trained] for name in ranked[0].scores
    } | {
        "depth": [depth(architecture) for architecture in architectures],
        "flops": [flops(architecture) for architecture in architectures],
        "parameters": [parameters(architecture) for architecture in architectures],
        "random": rng.random(len(architectures)).tolist(),
    }
    accuracies = [truth[architecture.id] for architecture in architectures]
    found = certify(
        accuracies, scores, params.bootstrap, np.random.default_rng([params.seed, _BOOTSTRAP])
    )
    return found.to_json() | {
        "statement": found.statement(params.indicator),
        "evidence": _evidence(len(trained), params),
        "truth": [
            {"architecture_id": architecture.id, "accuracy": rounded(accuracy)}
            for architecture, accuracy in zip(architectures, accuracies, strict=True)
        ],
    }


def read_candidates(path: Path) -> list[Candidate]:
    """Read the search's candidates, its best one first.

    Raises:
        FileFormatError: the file is missing or has another schema.
        UserError: one of its architectures is malformed.
    """
    rows = read_json(path, CANDIDATES)["candidates"]
    return [Candidate(Architecture.from_json(row["architecture"]), row["costs"]) for row in rows]


def _entry(one: Ranked) -> dict[str, Any]:
    architecture = one.candidate.architecture
    return {
        "architecture_id": architecture.id,
        "short": architecture.short(),
        "scores": {name: rounded(score) for name, score in one.scores.items()},
        "costs": dict(one.candidate.costs),
    }


def _evidence(count: int, params: RankParams) -> str:
    if count == 0:
        return "None: no architecture was trained on its own (rank.truth_architectures is 0)."
    return (
        f"Weak: {count} of the search's candidates, each trained on its own from scratch for "
        f"{params.truth_steps} steps of {params.truth_batch} images with one seed. So short a "
        "training also orders by how fast networks learn, and its seed noise was not measured."
    )


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages rank", description=__doc__)
    for name in ("params", "space", "data", "supernet", "search", "out", "choice"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()
