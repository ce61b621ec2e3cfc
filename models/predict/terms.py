"""The terms of a predictor: from features to the design matrix of a regression.

Axes: N examples, F features, T terms.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.predict.predictor import PredictorError, Values

Products = Literal["none", "same", "all"]
MOST_TERMS = 4000


@dataclass(frozen=True)
class Form:
    """Form of a regression.

    Attributes:
        products: none; those of two features of the same part of a network (`same`); or `all`.
        strength: scale of product columns relative to feature columns; smaller values are
            penalised more.
        log: fit the target's logarithm.
        relative: weight squared errors by 1 / target^2, i.e. minimise relative errors.
    """

    products: Products = "none"
    strength: float = 1.0
    log: bool = False
    relative: bool = False


def part_of(name: str) -> str | None:
    """The part of a network that a feature belongs to: the first number in its name, or None.

    For example `stage2.depth` and `stage2.kernel`, or `d2` and `k2`.
    """
    found = re.search(r"\d+", name)
    return found.group() if found else None


def pairs(names: Sequence[str], products: Products) -> list[tuple[int, int]]:
    """Index pairs of features whose products are terms, including squares.

    Raises:
        PredictorError: more than MOST_TERMS terms.
    """
    if products == "none":
        return []
    parts = [part_of(name) for name in names]
    every = range(len(names))
    found = [(i, j) for i in every for j in every[i:] if products == "all" or parts[i] == parts[j]]
    if len(names) + len(found) > MOST_TERMS:
        raise PredictorError(
            f"{len(names)} features and {len(found)} products exceed the limit of at most "
            f"{MOST_TERMS} terms. Use fewer features or no products."
        )
    return found


@dataclass(frozen=True)
class Basis:
    """Centring and scaling of the terms, computed from the training examples.

    Attributes:
        means_F: of the features.
        pairs: of the products.
        means_T: of the terms.
        scales_T: divisor of each column; 0 for a constant term, whose column is 0.
    """

    means_F: Values
    pairs: tuple[tuple[int, int], ...]
    means_T: Values
    scales_T: Values

    @classmethod
    def of(cls, names: Sequence[str], values_NF: Values, form: Form) -> Basis:
        """Compute the basis of some examples."""
        means_F = values_NF.mean(0)
        found = tuple(pairs(names, form.products))
        raw_NT = _raw(values_NF - means_F, found)
        spread_T = raw_NT.std(0)
        size_T = np.abs(raw_NT).max(0, initial=0.0)
        strength_T = np.array([1.0] * len(names) + [form.strength] * len(found))
        varies_T = spread_T > 1e-9 * np.maximum(size_T, 1e-300)
        return cls(means_F, found, raw_NT.mean(0), np.where(varies_T, spread_T / strength_T, 0.0))

    def columns(self, values_NF: Values) -> Values:
        """The design matrix, (N, T)."""
        raw_NT = _raw(values_NF - self.means_F, self.pairs) - self.means_T
        columns_NT = np.zeros_like(raw_NT)
        np.divide(raw_NT, self.scales_T, out=columns_NT, where=self.scales_T > 0)
        return columns_NT

    def features_of(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Feature names of every term."""
        return [(name,) for name in names] + [(names[i], names[j]) for i, j in self.pairs]


def _raw(centred_NF: Values, found: Sequence[tuple[int, int]]) -> Values:
    if not found:
        return centred_NF
    first, second = np.array(found).T
    return np.hstack([centred_NF, centred_NF[:, first] * centred_NF[:, second]])


__all__ = ["MOST_TERMS", "Basis", "Form", "Products", "pairs", "part_of"]
