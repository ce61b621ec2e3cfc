"""An interpretable predictor: ridge regression on named features (FOX-NAS, section 3.2).

The JSON file contains `FORMULA` and can be evaluated without scikit-learn or this project.

Axes: N examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import UserError

SCHEMA = "netwright/predictor/1"
FORMULA = (
    "prediction = intercept + the sum over terms of coefficient * (product - mean), where product "
    "is that of (value - features[NAME].mean) over the term's features; where scale is 'log' the "
    "prediction is e to that power."
)
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Feature:
    """One input feature: its mean and range over the training examples; unit may be empty."""

    mean: float
    low: float
    high: float
    unit: str = ""


@dataclass(frozen=True)
class Term:
    """One centred feature, or the product of two.

    Attributes:
        features: their names; a repeated name is a square.
        mean: of the product over the training examples.
        coefficient: change of the target, or its logarithm, per unit of the product.
        low: lower end of its 95% interval; `high`: upper end.
    """

    features: tuple[str, ...]
    mean: float
    coefficient: float
    low: float
    high: float

    @property
    def name(self) -> str:
        """Display name: `depth`, `depth x kernel`, `kernel squared`."""
        first, *others = self.features
        return f"{first} squared" if others == [first] else " x ".join(self.features)


@dataclass(frozen=True)
class Predictor:
    """Predicts a scalar from named features.

    Attributes:
        target: its name.
        unit: of the target; empty if unknown.
        log: whether the sum of terms is the target's logarithm.
        intercept: the prediction, or its logarithm, with every term at its mean.
        features: by name; only those used by a term.
        terms: in the order of the features, products last.
        examples: number of training examples.
        notes: further JSON values: penalty, error, how it was fitted.
    """

    target: str
    unit: str
    log: bool
    intercept: float
    features: Mapping[str, Feature]
    terms: tuple[Term, ...]
    examples: int
    notes: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, features: Mapping[str, float]) -> float:
        """Predict one example.

        Raises:
            UserError: a feature is missing.
        """
        return float(self.predict_many({name: np.array([x]) for name, x in features.items()})[0])

    def predict_many(self, columns: Mapping[str, npt.ArrayLike]) -> Values:
        """Predict N examples, (N,), from features (N,); unknown ones are ignored.

        Raises:
            UserError: a feature is missing.
        """
        missing = [name for name in self.features if name not in columns]
        if missing:
            raise UserError(
                f"predicting {self.target} needs {', '.join(self.features)}; missing: "
                f"{', '.join(missing)}."
            )
        centred = {
            name: np.asarray(columns[name], dtype=np.float64) - feature.mean
            for name, feature in self.features.items()
        }
        first = next(iter(columns.values()), 0.0)
        total_N = np.full(len(np.atleast_1d(np.asarray(first))), self.intercept)
        for term in self.terms:
            product_N = centred[term.features[0]]
            for name in term.features[1:]:
                product_N = product_N * centred[name]
            total_N += term.coefficient * (product_N - term.mean)
        return np.exp(total_N) if self.log else total_N

    def to_json(self) -> dict[str, Any]:
        """JSON values with a schema."""
        return {
            "schema": SCHEMA,
            "target": self.target,
            "unit": self.unit,
            "scale": "log" if self.log else "plain",
            "formula": FORMULA,
            "intercept": self.intercept,
            "features": {name: asdict(feature) for name, feature in self.features.items()},
            "terms": [
                {**asdict(term), "features": list(term.features), "name": term.name}
                for term in self.terms
            ],
            "examples": self.examples,
            "notes": dict(self.notes),
        }
