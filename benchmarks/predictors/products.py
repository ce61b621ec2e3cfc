"""Ridge regression with products of features, log targets and relative errors, selected by LOO.

Axes: N examples, F features, T terms, P penalties.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np

from core.errors import UserError
from models.predict.fit import (
    Design,
    Examples,
    Scaling,
    best_penalty,
    left_out,
    predictor_of,
    require_examples,
    solve,
)
from models.predict.predictor import Predictor, Values

Products = Literal["none", "same", "all"]
MOST_TERMS = 4000
MOST_NUMBERS = 5_000_000
"""Largest examples x terms for which `auto` tries products."""
STRENGTHS = (0.1, 0.3, 1.0)
IMPROVEMENT_FACTOR = 0.97
"""A form with more terms is selected only if its squared error is below this share of the best so
far, to avoid selecting by chance among many forms."""


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
        UserError: more than MOST_TERMS terms.
    """
    if products == "none":
        return []
    parts = [part_of(name) for name in names]
    every = range(len(names))
    found = [(i, j) for i in every for j in every[i:] if products == "all" or parts[i] == parts[j]]
    if len(names) + len(found) > MOST_TERMS:
        raise UserError(
            f"{len(names)} features and {len(found)} products exceed the limit of at most "
            f"{MOST_TERMS} terms. Use fewer features or no products."
        )
    return found


@dataclass(frozen=True)
class ProductRidge:
    """A form with its penalty and leave-one-out mean squared error."""

    form: Form
    penalty: float
    loo_error: float = 0.0

    def solve(self, examples: Examples) -> Callable[[Values], Values]:
        """The prediction function of `fit`, values (N, F) to (N,); faster, without intervals."""
        from sklearn.linear_model import Ridge

        terms_of, scaling, (columns_NT, values_N, weights_N) = problem(examples, self.form)
        ridge = Ridge(self.penalty * len(values_N), solver="cholesky")
        ridge.fit(columns_NT, values_N, sample_weight=weights_N)

        def predict(values_NF: Values) -> Values:
            found_N: Values = ridge.predict(scaling.columns(terms_of(values_NF)))
            return np.exp(found_N) if self.form.log else found_N

        return predict

    def fit(self, examples: Examples) -> Predictor:
        """Fit all examples, with intervals of the coefficients."""
        _, scaling, design = problem(examples, self.form)
        names, found = examples.names, solve(design, self.penalty)
        features = [(name,) for name in names]
        products = [(names[i], names[j]) for i, j in pairs(names, self.form.products)]
        notes = {"form": asdict(self.form), "penalty": self.penalty}
        terms = found.terms([*features, *products], scaling)
        return predictor_of(examples, found.centre, terms, notes, self.form.log)


def selection(products: str, relative: bool = False) -> Callable[[Examples], ProductRidge]:
    """Selects form and penalty by leave-one-out error.

    Args:
        products: one kind, or `auto` to select among them.
        relative: minimise relative errors in fit and selection; targets must be positive.
    """

    def select(examples: Examples) -> ProductRidge:
        require_examples(examples)
        smallest = float(examples.target_N.min())
        if relative and smallest <= 0:
            raise UserError(
                f"relative errors need targets above 0, and the smallest {examples.target} is "
                f"{smallest:g}. Fit absolute errors instead."
            )
        first, *others = (with_penalty(examples, f) for f in forms(examples, products, relative))
        best = first
        for found in others:
            if found.loo_error < IMPROVEMENT_FACTOR * best.loo_error:
                best = found
        return best

    return select


def forms(examples: Examples, products: str, relative: bool = False) -> list[Form]:
    """The forms to select from, those with fewer terms first."""
    names, count = examples.names, len(examples.target_N)
    kinds: list[Products] = ["none"]
    if products == "auto":
        parts = [part_of(name) for name in names]
        terms = len(names) * (len(names) + 3) // 2
        possible = terms <= MOST_TERMS and terms * count <= MOST_NUMBERS
        if possible and 1 < len(set(parts)) < len(parts):
            kinds.append("same")
        if possible:
            kinds.append("all")
    else:
        kinds = [products]  # type: ignore[list-item]
    scales = (False, True) if (examples.target_N > 0).all() else (False,)
    return [
        Form(kind, strength, log, relative)
        for kind in kinds
        for strength in (STRENGTHS if pairs(names, kind) else (1.0,))
        for log in scales
    ]


def problem(examples: Examples, form: Form) -> tuple[Callable[[Values], Values], Scaling, Design]:
    """The function from features to terms, the terms' scaling, and the least-squares problem."""
    means_F, at_2T = examples.values_NF.mean(0), np.array(pairs(examples.names, form.products)).T

    def terms_of(values_NF: Values) -> Values:
        centred_NF: Values = values_NF - means_F
        if not at_2T.size:
            return centred_NF
        return np.hstack([centred_NF, centred_NF[:, at_2T[0]] * centred_NF[:, at_2T[1]]])

    terms_NT, features = terms_of(examples.values_NF), len(examples.names)
    strength_T = np.where(np.arange(terms_NT.shape[1]) < features, 1.0, form.strength)
    scaling = Scaling.of(terms_NT)
    scaling = replace(scaling, scales_T=scaling.scales_T / strength_T)
    target_N = examples.target_N
    weights_N = np.ones(len(target_N))
    if form.relative and not form.log:  # errors of the logarithm are relative
        weights_N = target_N**-2.0 / (target_N**-2.0).mean()
    values_N = np.log(target_N) if form.log else target_N
    return terms_of, scaling, Design(scaling.columns(terms_NT), values_N, weights_N)


def with_penalty(examples: Examples, form: Form) -> ProductRidge:
    """Select a form's penalty by errors on the target's own scale."""
    design, target_N = problem(examples, form)[2], examples.target_N
    loo_NP = left_out(design)
    if form.log:  # clipped, so that extrapolated values do not overflow
        loo_NP = np.exp(np.minimum(loo_NP, design.values_N.max() + 10))
    off_NP = loo_NP - target_N[:, None]
    return ProductRidge(
        form, *best_penalty(off_NP / target_N[:, None] if form.relative else off_NP)
    )
