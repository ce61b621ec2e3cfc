"""How well named features predict a number: `python -m benchmarks.predictors --csv F --target COL`.

It prints the error of this project's predictor on rows that it has not seen, beside ordinary least
squares and gradient-boosted trees on the same folds; then its coefficients with 95% intervals, and
what each feature adds. With `--space` the table needs a column `choices` (as `history.csv` of the
stage `search` has), and the features are the readable ones of those networks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression

from benchmarks.harness.flags import flags_of, words
from benchmarks.harness.markdown import number, table
from benchmarks.predictors.table import examples_of, read_table, with_features
from core.errors import UserError
from models.predict.cross_validation import (
    Contribution,
    Error,
    Learner,
    cross_validate,
    effects,
    explain,
    folds,
    judge,
)
from models.predict.fit import Examples, Ridge
from models.predict.predictor import Predictor, Values
from models.space.spec import SpaceError

OURS, LEAST_SQUARES, TREES = "ridge (netwright)", "ordinary least squares", "gradient-boosted trees"
SHOWN = 25


def main() -> None:
    parser = flags_of("predictors", __doc__)
    parser.add_argument("--csv", type=Path, required=True, help="a table with a header")
    parser.add_argument("--target", required=True, help="the column to predict")
    parser.add_argument("--features", type=words, help="columns; by default all that hold numbers")
    parser.add_argument("--space", type=Path, help="of the networks in the column `choices`")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the folds and the trees")
    flags = parser.parse_args()
    try:
        run(flags)
    except (UserError, SpaceError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def run(flags: argparse.Namespace) -> None:
    """Read, judge, fit on everything, show."""
    cells = read_table(flags.csv)
    features = flags.features and [name.strip() for name in flags.features]
    if flags.space is not None:
        cells, found = with_features(cells, flags.space)
        features = features or found
    examples, notes = examples_of(cells, flags.target, features)
    print(f"{flags.csv}: {len(examples.target_N)} rows, {len(examples.names)} features of")
    print(f"'{flags.target}': {', '.join(examples.names)}", *notes, sep="\nnote: ")
    parts = folds(examples, flags.folds, np.random.default_rng(flags.seed))
    ours = explain(examples, Ridge.select, parts)
    boosted = GradientBoostingRegressor(
        n_estimators=300, learning_rate=0.05, max_depth=3, random_state=flags.seed
    )
    errors = {OURS: ours.error}
    for name, model in {LEAST_SQUARES: LinearRegression(), TREES: boosted}.items():
        found_N = cross_validate(examples, parts, learner(model))
        errors[name] = judge(examples.target_N, found_N)
    print(f"\n{flags.folds} folds (seed {flags.seed}), each row predicted without its fold:\n")
    print(error_table(errors))
    predictor, worth = ours.predictor, ours.added
    print(f"\nFitted on all rows, penalty {predictor.notes['penalty']:.2g}:\n")
    print(terms_table(predictor, examples))
    rest = len(predictor.features) - len(worth)
    some = f" (the {len(worth)} that move it most; {rest} were not tried)" if rest else ""
    print(f"\nWhat each feature adds, on rows not seen{some}:\n\n{added_table(worth)}")


def learner(model: Any) -> Learner:
    """A regression of scikit-learn on the features as they are."""

    def learn(examples: Examples) -> Callable[[Values], Values]:
        found = model.fit(examples.values_NF, examples.target_N)
        return lambda values_NF: np.asarray(found.predict(values_NF))

    return learn


def error_table(errors: Mapping[str, Error]) -> str:
    """Every model's errors."""
    head = ("model", "R2", "mean relative error", "within 5%", "within 10%", "Kendall tau")
    columns = {"r2": ".4f", "relative": ".2%", "within_5": ".1%", "within_10": ".1%", "tau": ".3f"}
    rows = [
        (name, *(number(getattr(error, key), form) for key, form in columns.items()))
        for name, error in errors.items()
    ]
    return table(head, rows)


def terms_table(predictor: Predictor, examples: Examples) -> str:
    """The terms that move the prediction most over the rows."""
    moved = effects(predictor, examples)
    ordered = sorted(predictor.terms, key=lambda term: -moved[term.name])
    rows = [
        (t.name, f"{t.coefficient:.4g}", f"{t.low:.4g} to {t.high:.4g}", f"{moved[t.name]:.3g}")
        for t in ordered[:SHOWN]
    ]
    rest = len(ordered) - len(rows)
    more = f"\n\nand {rest} terms that move it less." if rest else ""
    head = ("term", "coefficient per unit", "95% interval", "per standard deviation")
    return table(head, rows) + more


def added_table(worth: Mapping[str, Contribution]) -> str:
    """What each feature adds, the most first."""
    ordered = sorted(worth, key=lambda name: -worth[name].lost)
    rows = [(n, f"{worth[n].lost:+.4f}", f"{worth[n].alone:.4f}") for n in ordered[:SHOWN]]
    return table(("feature", "R2 lost without it", "R2 by it alone"), rows)


if __name__ == "__main__":
    main()
