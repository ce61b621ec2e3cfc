"""An accuracy predictor fitted on the architectures evaluated by a search (FOX-NAS).

Axes: N evaluations, F features.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.files import FileFormatError
from models.predict.cross_validation import Explained, explain, folds
from models.predict.fit import Examples, Ridge
from models.predict.predictor import Values
from models.space.space import SearchSpace
from models.space.stage_features import stage_features, stage_sizes

MIN_ARCHITECTURES = 30
"""Different architectures; fewer are too few for about forty features."""
FOLDS = 5
TARGET = "nll"


@dataclass(frozen=True)
class _Seen:
    """Evaluations of a search, from steps with several architectures."""

    examples: Examples
    steps_N: npt.NDArray[np.int64]
    architectures: int


def accuracy_predictor(history: Path, space: SearchSpace, seed: int) -> Explained | str:
    """Fit a predictor of held-out NLL on interpretable features; or the reason why there is none.

    Its notes contain its error and feature contributions on held-out steps.

    Raises:
        FileFormatError: the history is not of this space.
    """
    if not history.is_file():
        return "the search left no history.csv."
    seen = _read(history, space)
    if seen is None or seen.architectures < MIN_ARCHITECTURES:
        count = 0 if seen is None else seen.architectures
        return (
            f"the search compared {count} different architectures within its steps, but "
            f"{MIN_ARCHITECTURES} are needed."
        )
    examples = seen.examples
    parts = folds(examples, FOLDS, np.random.default_rng(seed), seen.steps_N.tolist())
    found = explain(examples, Ridge.select, parts)
    notes = {"folds": FOLDS, "error": found.error.to_json(), "added": found.added_json()}
    noted = replace(found.predictor, notes={**found.predictor.notes, **notes})
    return replace(found, predictor=noted)


def _read(history: Path, space: SearchSpace) -> _Seen | None:
    """Read the evaluations and remove per-step effects.

    All architectures of a step are evaluated on one batch, whose difficulty changes their NLL far
    more than they differ from each other. So features and NLL are centred per step (the within
    estimator) and shifted to the overall means.
    """
    with history.open(encoding="utf-8", newline="") as file:
        # A search by an indicator evaluates no images and leaves this empty.
        rows = [row for row in csv.DictReader(file) if row.get(TARGET) != ""]
    sizes = stage_sizes(space.groups)
    try:
        steps = [int(row["step"]) for row in rows]
        nll = [float(row[TARGET]) for row in rows]
        networks = [space.architecture([*map(int, row["choices"].split())]) for row in rows]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise FileFormatError(
            f"{history} is not a history of space '{space.name}': {error!r}. Search again."
        ) from error
    several = [at for at, step in enumerate(steps) if steps.count(step) > 1]
    if not several:
        return None
    features = [stage_features(networks[at], sizes) for at in several]
    steps_N = np.array([steps[at] for at in several])
    values_NF = _within(np.array([[*row.values()] for row in features]), steps_N)
    target_N = _within(np.array([nll[at] for at in several])[:, None], steps_N)[:, 0]
    varied = [at for at in range(values_NF.shape[1]) if np.ptp(values_NF[:, at]) > 1e-9]
    examples = Examples(tuple(features[0]), values_NF, TARGET, target_N, {TARGET: "nats"})
    return _Seen(examples.columns(varied), steps_N, len({networks[at].id for at in several}))


def _within(values_NF: Values, steps_N: npt.NDArray[np.int64]) -> Values:
    """Centre values per step and add the overall mean."""
    found: Values = values_NF + values_NF.mean(0)
    for step in np.unique(steps_N):
        found[steps_N == step] -= values_NF[steps_N == step].mean(0)
    return found
