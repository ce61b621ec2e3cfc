"""The predictor of evaluated values shared by annealing and exhaustive search.

It is the ridge regression of `models.predict.fit`, so predictions for any number of architectures
are one matrix product. Axes: N architectures, G groups, F features.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass

import numpy as np

from core.files import json_bytes
from models.predict.cross_validation import explain, folds
from models.predict.fit import Examples, Ridge
from models.predict.picture import predictor_png
from models.predict.predictor import SCHEMA, Predictor
from models.search.algorithms.base import Seen
from models.search.problem import Features, Problem, as_choices
from models.space.block_tables import ChoicesNG
from models.space.distribution import Vector

TARGET = "held-out NLL"
FOLDS = 5
"""For the plot only, which requires at least two architectures per fold."""
_ENOUGH = 3


@dataclass(frozen=True)
class Fitted:
    """value = intercept + features @ slope.

    Attributes:
        features: its features.
        examples: its training data.
        model: the full regression; None with too few evaluations to fit one.
        intercept: prediction with all features 0.
        slope_F: per unit of every feature; 0 for constant features.
    """

    features: Features
    examples: Examples
    model: Predictor | None
    intercept: float
    slope_F: Vector

    @property
    def spread(self) -> float:
        """Standard deviation of the values."""
        return float(self.examples.target_N.std())

    def values(self, choices_NG: ChoicesNG) -> Vector:
        """Predicted values, shape (N,)."""
        predicted_N: Vector = self.intercept + self.features.of(choices_NG) @ self.slope_F
        return predicted_N

    def artifacts(self, seed: int) -> dict[str, bytes]:
        """Output files: the predictor, its coefficients by size, and a plot of contributions."""
        if self.model is None:
            return {}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("feature", "nats_per_unit", "low", "high", "nats_per_deviation"))
        deviations_F = self.slope_F * self.examples.values_NF.std(0)
        typical = dict(zip(self.features.names, deviations_F, strict=True))
        for term in sorted(self.model.terms, key=lambda term: -abs(typical[term.name])):
            numbers = (term.coefficient, term.low, term.high, typical[term.name])
            writer.writerow((term.name, *(f"{number:.6g}" for number in numbers)))
        written = {
            "predictor.json": json_bytes(SCHEMA, self.model.to_json()),
            "predictor.csv": text.getvalue().encode(),
        }
        if len(self.examples.target_N) >= 2 * FOLDS:
            parts = folds(self.examples, FOLDS, np.random.default_rng(seed))
            explained = explain(self.examples, Ridge.select, parts)
            written["predictor.png"] = predictor_png(explained, readable_name)
        return written


def fit_seen(problem: Problem, seen: Seen) -> Fitted:
    """Fit the regression on all architectures evaluated within the budgets."""
    known = list(seen.sums)
    features_NF = problem.features.of(as_choices(known))
    return fit(problem.features, features_NF, np.array([seen.value(c) for c in known]))


def fit(features: Features, features_NF: Vector, values_N: Vector) -> Fitted:
    """Fit the regression on N >= 1 values; their mean if there are too few."""
    names, varied = features.names, (features_NF.std(0) > 1e-9).any()
    examples = Examples(names, features_NF, TARGET, values_N, {TARGET: "nats"})
    if len(values_N) < _ENOUGH or values_N.std() == 0 or not varied:
        return Fitted(features, examples, None, float(values_N.mean()), np.zeros(len(names)))
    model = Ridge.select(examples).fit(examples)
    terms = {term.features[0]: term for term in model.terms}
    slope_F = np.array([terms[name].coefficient if name in terms else 0.0 for name in names])
    centres = [
        term.coefficient * (model.features[name].mean + term.mean) for name, term in terms.items()
    ]
    intercept = model.intercept - sum(centres)
    return Fitted(features, examples, model, intercept, slope_F)


def readable_name(feature: str) -> str:
    """`stage1.layer1: mbconv kernel=3` for `stage1.layer1: operator=mbconv,mbconv.kernel=3`."""
    operator = re.search(r"operator=(\w+)", feature)
    if operator is None:
        return feature
    label = feature.replace("operator=", "").replace(f"{operator[1]}.", "")
    return label.replace(",", " ")
