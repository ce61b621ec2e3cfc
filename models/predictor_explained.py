"""A predictor with what explains it: its error, and what its features add, on examples not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.predictor_fit import Choice, Examples, Options, choose, fit
from models.predictor_judge import Added, Error, Parts, added, choosing, held_out, judge
from models.predictors import Predictor, Values

ASKED = 40
"""At most so many features are asked what they add; each question is two fits a fold."""


@dataclass(frozen=True)
class Explained:
    """A predictor fitted on all examples, and what was found of it.

    Attributes:
        predictor: itself.
        choice: its form and penalty.
        true_N: the examples' targets.
        predicted_N: of the same examples, each predicted without its fold, everything chosen anew.
        error: of these predictions.
        added: what the features add that move it most.
    """

    predictor: Predictor
    choice: Choice
    true_N: Values
    predicted_N: Values
    error: Error
    added: Mapping[str, Added]

    def added_json(self) -> dict[str, Any]:
        """What each feature adds, as plain values, rounded."""
        return {
            name: {"lost": round(worth.lost, 6), "alone": round(worth.alone, 6)}
            for name, worth in self.added.items()
        }


def explain(examples: Examples, options: Options, parts: Parts) -> Explained:
    """Fit a predictor and find out what it is worth.

    Args:
        examples: at least 5.
        options: what the fit may choose from.
        parts: the folds.
    """
    predicted_N = held_out(examples, parts, choosing(options))
    choice = choose(examples, options)
    predictor = fit(examples, choice)
    return Explained(
        predictor,
        choice,
        examples.target_N,
        predicted_N,
        judge(examples.target_N, predicted_N),
        added(examples, choice, parts, movers(predictor, examples)),
    )


def effects(predictor: Predictor, examples: Examples) -> dict[str, float]:
    """By how much every term moves the prediction over the rows, as a standard deviation."""
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


def movers(predictor: Predictor, examples: Examples) -> list[str]:
    """The features that move the prediction most, with all their terms; all where they are few."""
    moved = effects(predictor, examples)
    most = {
        name: max(moved[term.name] for term in predictor.terms if name in term.features)
        for name in predictor.features
    }
    return sorted(most, key=lambda name: -most[name])[:ASKED]
