"""A predictor that explains itself: ridge regression on named features (FOX-NAS, section 3.2).

It is plain numbers: a mean for every feature, a coefficient with its 95% interval for every term,
an intercept. So it is saved as JSON that needs neither scikit-learn nor this project to be
computed; `FORMULA` stands in the file. `models.predictor_fit` fits one.

Axes: N examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

SCHEMA = "netwright/predictor/1"
FORMULA = (
    "prediction = intercept + the sum over terms of coefficient * (product - mean), where product "
    "is that of (value - features[NAME].mean) over the term's features; where scale is 'log' the "
    "prediction is e to that power."
)
Values = npt.NDArray[np.float64]


class PredictorError(ValueError):
    """Examples that cannot be fitted, or features and files that a predictor cannot use."""


@dataclass(frozen=True)
class Feature:
    """One input.

    Attributes:
        mean: over the examples fitted on; terms are written around it.
        low: smallest value among them; beyond it the predictor was never checked.
        high: largest value among them.
        unit: of the values; empty where nobody said.
    """

    mean: float
    low: float
    high: float
    unit: str = ""


@dataclass(frozen=True)
class Term:
    """One feature, or the product of two, each counted from its mean.

    Attributes:
        features: their names; a name twice is a square.
        mean: of the product over the examples fitted on.
        coefficient: what one unit of the product adds to the target, or to its logarithm.
        low: lower end of its 95% interval.
        high: upper end.
    """

    features: tuple[str, ...]
    mean: float
    coefficient: float
    low: float
    high: float

    @property
    def name(self) -> str:
        """The term in words: `depth`, `depth x kernel`, `kernel squared`."""
        first, *others = self.features
        return f"{first} squared" if others == [first] else " x ".join(self.features)


@dataclass(frozen=True)
class Predictor:
    """Predicts one number of a network, or of anything, from named features.

    Attributes:
        target: what it predicts.
        unit: of the target; empty where nobody said.
        log: whether the terms add up to the target's logarithm.
        intercept: the prediction, or its logarithm, where every term is at its mean.
        features: by name; only those that some term uses.
        terms: in the order of the features, products last.
        examples: how many it was fitted on.
        notes: what else is known of it, as JSON values: penalty, error, how it was fitted.
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
        """The target of one example.

        Raises:
            PredictorError: a feature is missing.
        """
        return float(self.predict_many({name: np.array([x]) for name, x in features.items()})[0])

    def predict_many(self, columns: Mapping[str, npt.ArrayLike]) -> Values:
        """The target of N examples, (N,).

        Args:
            columns: by feature, shape (N,); others than this predictor's are not looked at.

        Raises:
            PredictorError: a feature is missing.
        """
        missing = [name for name in self.features if name not in columns]
        if missing:
            raise PredictorError(
                f"predicting {self.target} needs {', '.join(self.features)}; there is no "
                f"{', '.join(missing)}."
            )
        centred = {
            name: np.asarray(columns[name], dtype=np.float64) - feature.mean
            for name, feature in self.features.items()
        }
        total_N = np.full(_rows(columns), self.intercept)
        for term in self.terms:
            product_N = centred[term.features[0]]
            for name in term.features[1:]:
                product_N = product_N * centred[name]
            total_N += term.coefficient * (product_N - term.mean)
        return np.exp(total_N) if self.log else total_N

    def to_json(self) -> dict[str, Any]:
        """Plain values with a schema, from which `from_json` makes an equal predictor."""
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

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Predictor:
        """The predictor that `to_json` described.

        Raises:
            PredictorError: another schema, or something is missing.
        """
        if content.get("schema") != SCHEMA:
            raise PredictorError(
                f"a predictor's schema is {SCHEMA!r}, not {content.get('schema')!r}."
            )
        try:
            return cls(
                content["target"],
                content["unit"],
                {"log": True, "plain": False}[content["scale"]],
                float(content["intercept"]),
                {name: Feature(**row) for name, row in content["features"].items()},
                tuple(_term(row) for row in content["terms"]),
                int(content["examples"]),
                content["notes"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise PredictorError(f"this is no whole predictor: {error!r}.") from error


def _term(row: Mapping[str, Any]) -> Term:
    numbers = (float(row[key]) for key in ("mean", "coefficient", "low", "high"))
    return Term(tuple(row["features"]), *numbers)


def _rows(columns: Mapping[str, npt.ArrayLike]) -> int:
    return len(np.atleast_1d(np.asarray(next(iter(columns.values()))))) if columns else 1


def used_features(
    names: Sequence[str], values_NF: Values, units: Mapping[str, str]
) -> dict[str, Feature]:
    """What a predictor keeps of its features' values."""
    return {
        name: Feature(float(x.mean()), float(x.min()), float(x.max()), units.get(name, ""))
        for name, x in zip(names, values_NF.T, strict=True)
    }


__all__ = ["SCHEMA", "Feature", "Predictor", "PredictorError", "Term", "used_features"]
