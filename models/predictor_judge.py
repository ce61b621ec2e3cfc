"""How good a predictor is on examples that it has not seen, and what each feature adds.

Axes: N examples, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau

from models.predictor_fit import Choice, Examples, Options, choose, solve
from models.predictors import PredictorError, Values

Parts = Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
"""Per fold the numbers of the examples learnt from, and of those judged on."""
Learner = Callable[[Examples], Callable[[Values], Values]]
"""From examples to a function that predicts (N,) from values (N, F)."""


@dataclass(frozen=True)
class Error:
    """Predictions beside the truth; None where a measure is not defined.

    Attributes:
        r2: the share of the target's variance that is explained.
        relative: mean of |predicted - true| / |true|, over targets that are not 0.
        within_5: share of those with a relative error of at most 5%.
        within_10: likewise 10%.
        tau: Kendall's tau-b of the two orders.
        absolute: mean of |predicted - true|, in the target's unit.
    """

    r2: float | None
    relative: float | None
    within_5: float | None
    within_10: float | None
    tau: float | None
    absolute: float

    def to_json(self) -> dict[str, float | None]:
        """Plain values, rounded."""
        return {n: None if x is None else round(x, 6) for n, x in asdict(self).items()}


def judge(true_N: Values, predicted_N: Values) -> Error:
    """Compare predictions with the truth."""
    off_N = np.abs(predicted_N - true_N)
    spread = float(((true_N - true_N.mean()) ** 2).sum())
    known = true_N != 0
    relative_N = off_N[known] / np.abs(true_N[known])
    tau = float(kendalltau(true_N, predicted_N).statistic)
    measured = bool(known.any())
    return Error(
        None if spread == 0 else 1 - float((off_N**2).sum()) / spread,
        float(relative_N.mean()) if measured else None,
        float((relative_N <= 0.05).mean()) if measured else None,
        float((relative_N <= 0.10).mean()) if measured else None,
        None if np.isnan(tau) else tau,
        float(off_N.mean()),
    )


def folds(
    examples: Examples,
    count: int,
    rng: np.random.Generator,
    together: Sequence[int] | None = None,
) -> Parts:
    """Random folds.

    Args:
        examples: to be dealt.
        count: of folds.
        rng: of the deal.
        together: a number for each example; equal ones share a fold. None keeps examples with the
            same features together, so that no prediction is known beforehand.

    Raises:
        PredictorError: there are fewer different examples than folds, or fewer than two folds, or
            so few examples that a fold leaves less than three to learn from.
    """
    from sklearn.model_selection import GroupKFold

    kept = examples.values_NF if together is None else np.array(together)[:, None]
    _, same_N = np.unique(kept, axis=0, return_inverse=True)
    different, rows = int(same_N.max()) + 1 if len(same_N) else 0, len(same_N)
    if not 2 <= count <= different or rows - -(-rows // count) < 3:
        raise PredictorError(
            f"{rows} examples, {different} of them different, cannot be "
            f"dealt into {count} folds: take 2 to {max(different, 2)} folds, and at least 5 "
            "examples."
        )
    splitter = GroupKFold(count, shuffle=True, random_state=int(rng.integers(2**31)))
    return list(splitter.split(examples.values_NF, groups=same_N.ravel()))


def held_out(examples: Examples, parts: Parts, learn: Learner) -> Values:
    """Every example's prediction by what was learnt without its fold, (N,)."""
    predicted_N = np.full(len(examples.target_N), np.nan)
    for seen, unseen in parts:
        predicted_N[unseen] = learn(examples.rows(seen))(examples.values_NF[unseen])
    return predicted_N


def choosing(options: Options) -> Learner:
    """Learn with everything chosen anew, as `choose` does."""
    return lambda examples: solve(examples, choose(examples, options))


def as_chosen(choice: Choice) -> Learner:
    """Learn with a form and a penalty already chosen."""
    return lambda examples: solve(examples, choice)


@dataclass(frozen=True)
class Added:
    """What a feature is worth; shares of the target's variance, on examples not seen.

    Attributes:
        lost: R2 that goes when the feature goes, with all its products.
        alone: R2 by this feature alone.
    """

    lost: float
    alone: float


def added(
    examples: Examples, choice: Choice, parts: Parts, only: Sequence[str] | None = None
) -> dict[str, Added]:
    """What each feature adds, by fits without it and with it alone.

    The form and the penalty stay those of `choice`, which saw all examples: these numbers explain
    a predictor, they do not judge it. Features that say the same lose little one by one.

    Args:
        examples: all of them.
        choice: the form and the penalty of every fit.
        parts: the folds.
        only: the features to ask about; None for all.
    """

    def r2(columns: Sequence[int]) -> float:
        some = examples.columns(columns)
        if not columns:
            return 0.0
        return judge(some.target_N, held_out(some, parts, as_chosen(choice))).r2 or 0.0

    every = range(len(examples.names))
    whole = r2(every)
    return {
        name: Added(whole - r2([i for i in every if i != at]), r2([at]))
        for at, name in enumerate(examples.names)
        if only is None or name in only
    }


__all__ = ["Added", "Error", "added", "as_chosen", "choosing", "folds", "held_out", "judge"]
