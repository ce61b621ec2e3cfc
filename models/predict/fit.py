"""Ridge regression on named features, its penalty selected by leave-one-out (LOO) error.

scikit-learn computes all leave-one-out predictions in closed form from one fit. Because selection
uses all given examples, the error of the result must be estimated on others; see
`models.predict.cross_validation`.

Axes: N examples, F features, T terms, P penalties.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from core.errors import UserError
from models.predict.predictor import Feature, Predictor, Term, Values

PENALTIES = tuple(float(10.0**power) for power in np.arange(-6, 3.5, 1 / 3))
"""Ridge penalties per example, for standardised features."""
_INTERVAL = 1.96  # standard deviations on either side: 95% of a normal distribution


@dataclass(frozen=True)
class Examples:
    """Training examples of a predictor: finite features and targets, and units where known."""

    names: tuple[str, ...]
    values_NF: Values
    target: str
    target_N: Values
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values_NF.shape != (len(self.target_N), len(self.names)):
            raise UserError(
                f"{len(self.target_N)} targets and {len(self.names)} features need values of shape "
                f"({len(self.target_N)}, {len(self.names)}), not {self.values_NF.shape}."
            )
        if not (np.isfinite(self.values_NF).all() and np.isfinite(self.target_N).all()):
            raise UserError("examples must not contain missing or infinite values.")

    def rows(self, chosen: npt.NDArray[np.int64] | Sequence[int]) -> Examples:
        """Select examples."""
        at = np.asarray(chosen)
        return replace(self, values_NF=self.values_NF[at], target_N=self.target_N[at])

    def columns(self, chosen: Sequence[int]) -> Examples:
        """Select features by index."""
        names = tuple(self.names[at] for at in chosen)
        return replace(self, names=names, values_NF=self.values_NF[:, list(chosen)])


class Design(NamedTuple):
    """A weighted least-squares problem: standardised terms, values, weights of mean 1."""

    columns_NT: Values
    values_N: Values
    weights_N: Values


@dataclass(frozen=True)
class Scaling:
    """Means and divisors of terms; a divisor is 0 for a constant term, whose column is 0."""

    means_T: Values
    scales_T: Values

    @classmethod
    def of(cls, terms_NT: Values) -> Scaling:
        """The scaling that gives every term mean 0 and standard deviation 1."""
        spread_T = terms_NT.std(0)
        varies_T = spread_T > 1e-9 * np.maximum(np.abs(terms_NT).max(0, initial=0.0), 1e-300)
        return cls(terms_NT.mean(0), np.where(varies_T, spread_T, 0.0))

    def columns(self, terms_NT: Values) -> Values:
        """Scale terms, (N, T)."""
        columns_NT = np.zeros_like(terms_NT)
        varies_T = self.scales_T > 0
        np.divide(terms_NT - self.means_T, self.scales_T, out=columns_NT, where=varies_T)
        return columns_NT


class Coefficients(NamedTuple):
    """A solved problem: value = centre + (column - centre_T) @ values_T.

    `centre` and `centre_T` are weighted means; `reach_T` is half the width of the 95% intervals.
    """

    centre: float
    centre_T: Values
    values_T: Values
    reach_T: Values

    def terms(self, features: Sequence[tuple[str, ...]], scaling: Scaling) -> tuple[Term, ...]:
        """Coefficients per unit of the unscaled terms; constant terms are left out."""
        found = []
        for at, names in enumerate(features):
            scale = scaling.scales_T[at]
            if scale > 0:
                value, reach = float(self.values_T[at] / scale), float(self.reach_T[at] / scale)
                mean = float(scaling.means_T[at] + scale * self.centre_T[at])
                found.append(Term(names, mean, value, value - reach, value + reach))
        return tuple(found)


class Model(Protocol):
    """A kind of regression with its selected hyperparameters."""

    def solve(self, examples: Examples) -> Callable[[Values], Values]:
        """Fit examples; returns a function that predicts (N,) from values (N, F)."""

    def fit(self, examples: Examples) -> Predictor:
        """Fit examples, with intervals of the coefficients."""


@dataclass(frozen=True)
class Ridge:
    """Ridge regression on the standardised features."""

    penalty: float
    """Per example."""

    @classmethod
    def select(cls, examples: Examples) -> Ridge:
        """Select the penalty with the smallest leave-one-out error; ties go to the larger.

        Raises:
            UserError: fewer than 3 examples, or no feature.
        """
        require_examples(examples)
        design = _design(examples)[1]
        return cls(best_penalty(left_out(design) - design.values_N[:, None])[0])

    def solve(self, examples: Examples) -> Callable[[Values], Values]:
        """The prediction function of `fit`, values (N, F) to (N,)."""
        predictor = self.fit(examples)
        return lambda values_NF: predictor.predict_many(
            dict(zip(examples.names, values_NF.T, strict=True))
        )

    def fit(self, examples: Examples) -> Predictor:
        """Fit all examples, with intervals of the coefficients."""
        scaling, design = _design(examples)
        found = solve(design, self.penalty)
        terms = found.terms([(name,) for name in examples.names], scaling)
        return predictor_of(examples, found.centre, terms, {"penalty": self.penalty})


def require_examples(examples: Examples) -> None:
    """Raise UserError if there are fewer than 3 examples, or no feature."""
    if len(examples.target_N) < 3 or not examples.names:
        raise UserError(
            f"{len(examples.target_N)} examples of {len(examples.names)} features: a fit needs at "
            "least 3 examples and a feature."
        )


def _design(examples: Examples) -> tuple[Scaling, Design]:
    centred_NF = examples.values_NF - examples.values_NF.mean(0)
    scaling, target_N = Scaling.of(centred_NF), examples.target_N
    return scaling, Design(scaling.columns(centred_NF), target_N, np.ones(len(target_N)))


def predictor_of(
    examples: Examples,
    intercept: float,
    terms: tuple[Term, ...],
    notes: Mapping[str, object],
    log: bool = False,
) -> Predictor:
    """A predictor with the features that its terms use."""
    used = {name for term in terms for name in term.features}
    columns = zip(examples.names, examples.values_NF.T, strict=True)
    features = {
        name: Feature(float(x.mean()), float(x.min()), float(x.max()), examples.units.get(name, ""))
        for name, x in columns
        if name in used
    }
    return Predictor(
        examples.target,
        examples.units.get(examples.target, ""),
        log,
        intercept,
        features,
        terms,
        len(examples.target_N),
        notes,
    )


def left_out(design: Design) -> Values:
    """Leave-one-out predictions of every example with each of PENALTIES, (N, P)."""
    from sklearn.linear_model import RidgeCV

    count = len(design.values_N)
    # With a custom scoring, scikit-learn stores predictions instead of errors.
    ridge = RidgeCV(
        np.array(PENALTIES) * count, scoring=lambda *_, **__: 0.0, store_cv_results=True
    )
    ridge.fit(design.columns_NT, design.values_N, sample_weight=design.weights_N)
    found_NP: Values = ridge.cv_results_.reshape(count, len(PENALTIES))
    return found_NP


def best_penalty(errors_NP: Values) -> tuple[float, float]:
    """The penalty with the smallest mean squared error, and that error; ties go to the larger."""
    error_P = (errors_NP**2).mean(0)
    best = len(PENALTIES) - 1 - int(error_P[::-1].argmin())
    return PENALTIES[best], float(error_P[best])


def solve(design: Design, penalty_per_example: float) -> Coefficients:
    """Ridge regression with 95% posterior intervals under the prior of the penalty.

    Unlike the sampling error of ridge, they account for the bias of the penalty.
    """
    columns_NT, values_N, weights_N = design
    total = weights_N.sum()
    centre_T, centre = weights_N @ columns_NT / total, float(weights_N @ values_N / total)
    root_N = np.sqrt(weights_N)
    left_NK, sizes_K, right_KT = np.linalg.svd(
        (columns_NT - centre_T) * root_N[:, None], full_matrices=False
    )
    centred_N = (values_N - centre) * root_N
    penalty = penalty_per_example * len(values_N)
    shrunk_K = sizes_K / (sizes_K**2 + penalty)
    weights_T = right_KT.T @ (shrunk_K * (left_NK.T @ centred_N))
    error_N = centred_N - (columns_NT - centre_T) @ weights_T * root_N
    noise = _noise(
        error_N, float((shrunk_K * sizes_K).sum()), penalty * float(weights_T @ weights_T)
    )
    seen_T = (right_KT**2 * (1 / (sizes_K**2 + penalty))[:, None]).sum(0)
    unseen_T = np.maximum(1 - (right_KT**2).sum(0), 0) / penalty
    return Coefficients(
        centre, centre_T, weights_T, _INTERVAL * np.sqrt(noise * (seen_T + unseen_T))
    )


def _noise(error_N: Values, freedom: float, shrinkage: float) -> float:
    """The noise variance, from residuals and effective degrees of freedom.

    For fits with as many terms as examples, whose residuals vanish, it is at least the estimate
    from residuals plus `shrinkage`, the penalty term (evidence under the prior).
    """
    left, count = float(error_N @ error_N), len(error_N)
    return max(left / max(count - 1 - freedom, 1.0), (left + shrinkage) / (count - 1))
