"""The terms of a predictor, from features to the columns that a regression is given.

Axes: N examples, F features, T terms.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.predictors import PredictorError, Values

Products = Literal["none", "same", "all"]
MOST_TERMS = 4000


@dataclass(frozen=True)
class Form:
    """What a regression is made of.

    Attributes:
        products: none; those of two features of the same part of a network (`same`); or `all`.
        strength: the size of a product's column, where a feature's is 1: the smaller, the more
            a product must help for the penalty to let it.
        log: fit the target's logarithm.
        relative: weigh every example's square by its target's, so that relative errors count.
    """

    products: Products = "none"
    strength: float = 1.0
    log: bool = False
    relative: bool = False


def part_of(name: str) -> str | None:
    """The part of a network that a feature is of: the first number in its name, or None.

    So `stage2.depth`, `stage2.kernel` and `d2`, `k2` belong together, two by two.
    """
    found = re.search(r"\d+", name)
    return found.group() if found else None


def pairs(names: Sequence[str], products: Products) -> list[tuple[int, int]]:
    """The pairs of features, by number, whose products are terms; squares among them.

    Raises:
        PredictorError: they are more than a fit can take.
    """
    if products == "none":
        return []
    parts = [part_of(name) for name in names]
    every = range(len(names))
    found = [(i, j) for i in every for j in every[i:] if products == "all" or parts[i] == parts[j]]
    if len(names) + len(found) > MOST_TERMS:
        raise PredictorError(
            f"{len(names)} features have {len(found)} products, and with the features at most "
            f"{MOST_TERMS} terms are fitted. Choose fewer features, or no products."
        )
    return found


@dataclass(frozen=True)
class Basis:
    """How columns are made of features: what was learnt from the examples fitted on.

    Attributes:
        means_F: of the features.
        pairs: of the products.
        means_T: of the terms.
        scales_T: what a column is divided by; a term that never varied has 0 and an empty column.
    """

    means_F: Values
    pairs: tuple[tuple[int, int], ...]
    means_T: Values
    scales_T: Values

    @classmethod
    def of(cls, names: Sequence[str], values_NF: Values, form: Form) -> Basis:
        """The basis for these examples."""
        means_F = values_NF.mean(0)
        found = tuple(pairs(names, form.products))
        raw_NT = _raw(values_NF - means_F, found)
        spread_T = raw_NT.std(0)
        size_T = np.abs(raw_NT).max(0, initial=0.0)
        strength_T = np.array([1.0] * len(names) + [form.strength] * len(found))
        varies_T = spread_T > 1e-9 * np.maximum(size_T, 1e-300)
        return cls(means_F, found, raw_NT.mean(0), np.where(varies_T, spread_T / strength_T, 0.0))

    def columns(self, values_NF: Values) -> Values:
        """The regression's columns, (N, T)."""
        raw_NT = _raw(values_NF - self.means_F, self.pairs) - self.means_T
        columns_NT = np.zeros_like(raw_NT)
        np.divide(raw_NT, self.scales_T, out=columns_NT, where=self.scales_T > 0)
        return columns_NT

    def features_of(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """The names of every term's features."""
        return [(name,) for name in names] + [(names[i], names[j]) for i, j in self.pairs]


def _raw(centred_NF: Values, found: Sequence[tuple[int, int]]) -> Values:
    if not found:
        return centred_NF
    first, second = np.array(found).T
    return np.hstack([centred_NF, centred_NF[:, first] * centred_NF[:, second]])


__all__ = ["MOST_TERMS", "Basis", "Form", "Products", "pairs", "part_of"]
