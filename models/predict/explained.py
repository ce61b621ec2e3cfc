"""A fitted predictor with its cross-validated error and feature contributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.predict.cross_validation import (
    Contribution,
    Error,
    Parts,
    contributions,
    cross_validate,
    judge,
    selecting_learner,
)
from models.predict.fit import Examples, Model
from models.predict.predictor import Predictor, Values

MAX_FEATURES = 40
"""Features whose contributions are computed at most; each needs two fits per fold."""


@dataclass(frozen=True)
class Explained:
    """A predictor fitted on all examples, with its evaluation.

    Attributes:
        predictor: fitted.
        true_N: targets of the examples.
        predicted_N: cross-validated predictions; hyperparameters are selected per fold.
        error: of these predictions.
        added: contributions of the features with the largest effects.
    """

    predictor: Predictor
    true_N: Values
    predicted_N: Values
    error: Error
    added: Mapping[str, Contribution]

    def added_json(self) -> dict[str, Any]:
        """Contribution of each feature as rounded JSON values."""
        return {
            name: {"lost": round(contribution.lost, 6), "alone": round(contribution.alone, 6)}
            for name, contribution in self.added.items()
        }


def explain(examples: Examples, select: Callable[[Examples], Model], parts: Parts) -> Explained:
    """Fit a predictor, cross-validate it and compute feature contributions."""
    predicted_N = cross_validate(examples, parts, selecting_learner(select))
    model = select(examples)
    predictor = model.fit(examples)
    return Explained(
        predictor,
        examples.target_N,
        predicted_N,
        judge(examples.target_N, predicted_N),
        contributions(examples, model.solve, parts, top_features(predictor, examples)),
    )


def effects(predictor: Predictor, examples: Examples) -> dict[str, float]:
    """Standard deviation over the examples of every term's share of the prediction."""
    centred = {
        name: column_N - predictor.features[name].mean
        for name, column_N in zip(examples.names, examples.values_NF.T, strict=True)
        if name in predictor.features
    }
    return {
        term.name: abs(term.coefficient)
        * float(np.std(np.prod([centred[name] for name in term.features], axis=0)))
        for term in predictor.terms
    }


def top_features(predictor: Predictor, examples: Examples) -> list[str]:
    """The features with the largest effect of any of their terms, at most MAX_FEATURES."""
    moved = effects(predictor, examples)
    most = {
        name: max(moved[term.name] for term in predictor.terms if name in term.features)
        for name in predictor.features
    }
    return sorted(most, key=lambda name: -most[name])[:MAX_FEATURES]
