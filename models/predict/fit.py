"""Fitting a predictor: form and penalty are selected by leave-one-out (LOO) error.

Ridge regression by scikit-learn, which computes all leave-one-out predictions in closed form from
one fit. Because selection uses all given examples, the error of the result must be estimated on
others; see `models.predict.cross_validation`.

Axes: N examples, F features, T terms, P penalties.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import numpy.typing as npt

from models.predict.predictor import Predictor, PredictorError, Term, Values, used_features
from models.predict.terms import MOST_TERMS, Basis, Form, Products, pairs, part_of

PENALTIES = tuple(float(10.0**power) for power in np.arange(-6, 3.5, 1 / 3))
"""Ridge penalties per example, for standardised features."""
STRENGTHS = (0.1, 0.3, 1.0)
IMPROVEMENT_FACTOR = 0.97
"""A form with more terms is selected only if its squared error is below this share of the best so
far, to avoid selecting by chance among many forms."""
MOST_NUMBERS = 5_000_000
"""Largest examples x terms for which `auto` tries products."""
_INTERVAL = 1.96  # standard deviations on either side: 95% of a normal distribution


@dataclass(frozen=True)
class Examples:
    """Training examples of a predictor.

    Attributes:
        names: of the features.
        values_NF: feature values, finite.
        target: name of the target.
        target_N: target values, finite.
        units: by name of a feature or the target, where known.
    """

    names: tuple[str, ...]
    values_NF: Values
    target: str
    target_N: Values
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values_NF.shape != (len(self.target_N), len(self.names)):
            raise PredictorError(
                f"{len(self.target_N)} targets and {len(self.names)} features need values of shape "
                f"({len(self.target_N)}, {len(self.names)}), not {self.values_NF.shape}."
            )
        if not (np.isfinite(self.values_NF).all() and np.isfinite(self.target_N).all()):
            raise PredictorError("examples must not contain missing or infinite values.")

    @property
    def positive(self) -> bool:
        """Whether all targets are above 0, as relative errors and logarithms require."""
        return bool((self.target_N > 0).all())

    def rows(self, chosen: npt.NDArray[np.int64] | Sequence[int]) -> Examples:
        """Select examples."""
        at = np.asarray(chosen)
        return replace(self, values_NF=self.values_NF[at], target_N=self.target_N[at])

    def columns(self, chosen: Sequence[int]) -> Examples:
        """Select features by index."""
        names = tuple(self.names[at] for at in chosen)
        return replace(self, names=names, values_NF=self.values_NF[:, list(chosen)])


@dataclass(frozen=True)
class Options:
    """Options of the model selection.

    Attributes:
        products: one kind, or `auto` to select among them.
        relative: minimise relative errors in fit and selection; targets must be positive.
        log: whether the target's logarithm may be fitted, if targets are positive.
    """

    products: Products | str = "auto"
    relative: bool = False
    log: bool = True


@dataclass(frozen=True)
class Choice:
    """A form with its penalty and leave-one-out mean squared error."""

    form: Form
    penalty: float
    loo_error: float


def forms(examples: Examples, options: Options) -> list[Form]:
    """The forms to select from, those with fewer terms first.

    Raises:
        PredictorError: the options name unknown products.
    """
    names, count = examples.names, len(examples.target_N)
    kinds: list[Products] = ["none"]
    if options.products == "auto":
        parts = [part_of(name) for name in names]
        terms = len(names) * (len(names) + 3) // 2
        possible = terms <= MOST_TERMS and terms * count <= MOST_NUMBERS
        if possible and 1 < len(set(parts)) < len(parts):
            kinds.append("same")
        if possible:
            kinds.append("all")
    elif options.products in ("none", "same", "all"):
        kinds = [options.products]  # type: ignore[list-item]
    else:
        raise PredictorError(f"products must be auto, none, same or all, not {options.products!r}.")
    scales = (False, True) if options.log and examples.positive else (False,)
    return [
        Form(kind, strength, log, options.relative)
        for kind in kinds
        for strength in (STRENGTHS if pairs(names, kind) else (1.0,))
        for log in scales
    ]


def choose(examples: Examples, options: Options) -> Choice:
    """Select the form and penalty with the smallest leave-one-out error.

    Raises:
        PredictorError: fewer than 3 examples, no feature, or relative errors of targets that are
            not positive.
    """
    if len(examples.target_N) < 3 or not examples.names:
        raise PredictorError(
            f"{len(examples.target_N)} examples of {len(examples.names)} features: a fit needs at "
            "least 3 examples and a feature."
        )
    if options.relative and not examples.positive:
        raise PredictorError(
            f"relative errors need targets above 0, and the smallest {examples.target} is "
            f"{examples.target_N.min():g}. Fit absolute errors instead."
        )
    best: Choice | None = None
    for form in forms(examples, options):
        found = _best_penalty(examples, form)
        if best is None or found.loo_error < IMPROVEMENT_FACTOR * best.loo_error:
            best = found
    assert best is not None
    return best


def fit(examples: Examples, choice: Choice) -> Predictor:
    """Fit all examples with a given form and penalty.

    Coefficient intervals are posterior intervals with the Gaussian prior that corresponds to the
    penalty. Unlike the sampling error of ridge, they account for the bias of the penalty.
    """
    basis, columns_NT, values_N, weights_N = _problem(examples, choice.form)
    total = weights_N.sum()
    centre_T, centre = weights_N @ columns_NT / total, float(weights_N @ values_N / total)
    root_N = np.sqrt(weights_N)
    left_NK, sizes_K, right_KT = np.linalg.svd(
        (columns_NT - centre_T) * root_N[:, None], full_matrices=False
    )
    centred_N = (values_N - centre) * root_N
    penalty = choice.penalty * len(values_N)
    shrunk_K = sizes_K / (sizes_K**2 + penalty)
    weights_T = right_KT.T @ (shrunk_K * (left_NK.T @ centred_N))
    error_N = centred_N - (columns_NT - centre_T) @ weights_T * root_N
    noise = _noise(
        error_N, float((shrunk_K * sizes_K).sum()), penalty * float(weights_T @ weights_T)
    )
    seen_T = (right_KT**2 * (1 / (sizes_K**2 + penalty))[:, None]).sum(0)
    unseen_T = np.maximum(1 - (right_KT**2).sum(0), 0) / penalty
    reach_T = _INTERVAL * np.sqrt(noise * (seen_T + unseen_T))
    terms = []
    for at, named in enumerate(basis.features_of(examples.names)):
        if basis.scales_T[at] > 0:
            value, reach = (float(x[at] / basis.scales_T[at]) for x in (weights_T, reach_T))
            mean = float(basis.means_T[at] + basis.scales_T[at] * centre_T[at])
            terms.append(Term(named, mean, value, value - reach, value + reach))
    used = {name for term in terms for name in term.features}
    features = used_features(examples.names, examples.values_NF, examples.units)
    return Predictor(
        examples.target,
        examples.units.get(examples.target, ""),
        choice.form.log,
        centre,
        {name: feature for name, feature in features.items() if name in used},
        tuple(terms),
        len(values_N),
        {"form": asdict(choice.form), "penalty": choice.penalty},
    )


def solve(examples: Examples, choice: Choice) -> Callable[[Values], Values]:
    """The prediction function of `fit`, values (N, F) to (N,); faster, without intervals."""
    from sklearn.linear_model import Ridge

    basis, columns_NT, values_N, weights_N = _problem(examples, choice.form)
    ridge = Ridge(choice.penalty * len(values_N), solver="cholesky")
    ridge.fit(columns_NT, values_N, sample_weight=weights_N)

    def predict(values_NF: Values) -> Values:
        found_N: Values = ridge.predict(basis.columns(values_NF))
        return np.exp(found_N) if choice.form.log else found_N

    return predict


def _noise(error_N: Values, freedom: float, shrinkage: float) -> float:
    """Estimate the noise variance.

    The larger of two estimates: from the residuals, and, for fits with as many terms as examples,
    whose residuals vanish, from residuals plus the penalty term (evidence under the prior).

    Args:
        error_N: residuals.
        freedom: effective degrees of freedom.
        shrinkage: penalty times the sum of squared coefficients.
    """
    left, count = float(error_N @ error_N), len(error_N)
    return max(left / max(count - 1 - freedom, 1.0), (left + shrinkage) / (count - 1))


def _problem(examples: Examples, form: Form) -> tuple[Basis, Values, Values, Values]:
    """Basis, design matrix (N, T), regression targets (N,) and weights of mean 1 (N,)."""
    basis = Basis.of(examples.names, examples.values_NF, form)
    values_N = np.log(examples.target_N) if form.log else examples.target_N
    weights_N = np.ones(len(values_N))
    if form.relative and not form.log:  # errors of the logarithm are relative
        weights_N = examples.target_N**-2.0
        weights_N = weights_N / weights_N.mean()
    return basis, basis.columns(examples.values_NF), values_N, weights_N


def _best_penalty(examples: Examples, form: Form) -> Choice:
    """Select the penalty by leave-one-out error; ties go to the larger penalty."""
    from sklearn.linear_model import RidgeCV

    _, columns_NT, values_N, weights_N = _problem(examples, form)
    penalties = np.array(PENALTIES)
    # With a custom scoring, scikit-learn stores LOO predictions instead of errors; the score is
    # computed below, on the original scale of the target.
    ridge = RidgeCV(penalties * len(values_N), scoring=lambda *_, **__: 0.0, store_cv_results=True)
    ridge.fit(columns_NT, values_N, sample_weight=weights_N)
    loo_NP: Values = ridge.cv_results_.reshape(len(values_N), len(penalties))
    if form.log:
        # Clip extrapolated values to avoid overflow.
        loo_NP = np.exp(np.minimum(loo_NP, values_N.max() + 10))
    off_NP = loo_NP - examples.target_N[:, None]
    if form.relative:
        off_NP = off_NP / examples.target_N[:, None]
    error_P = (off_NP**2).mean(0)
    best = len(penalties) - 1 - int(error_P[::-1].argmin())
    return Choice(form, PENALTIES[best], float(error_P[best]))


__all__ = ["Choice", "Examples", "Options", "choose", "fit", "forms", "solve"]
