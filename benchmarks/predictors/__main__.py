"""How well named features predict a number.

    python -m benchmarks.predictors --csv FILE --target COLUMN

Any table will do: features in columns, a target in another. It prints the error of this project's
predictor on rows that it has not seen, beside ordinary least squares and gradient-boosted trees on
the very same folds; then its coefficients with 95% intervals, and what each feature adds.
Everything that the predictor chooses (products of features, penalty, logarithm) it chooses inside
the rows of a fold that it may see.

With `--space` the table needs a column `choices` (as `history.csv` of the stage `search` has), and
the features are the readable ones of those networks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.harness.flags import flags_of, words
from benchmarks.harness.markdown import number, table
from benchmarks.predictors.products import selection
from benchmarks.predictors.space import with_features
from benchmarks.predictors.table import examples_of, read_table
from core.errors import UserError
from core.files import write_bytes, write_json
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
from models.predict.fit import Examples
from models.predict.picture import predictor_png
from models.predict.predictor import SCHEMA, Predictor, Values
from models.space.spec import SpaceError

OURS, LEAST_SQUARES, TREES = "ridge (netwright)", "ordinary least squares", "gradient-boosted trees"
MANY = 2000
"""Rows from which on the trees are grown on histograms, as their authors advise."""
SHOWN = 25


def main() -> None:
    parser = flags_of("predictors", __doc__)
    parser.add_argument("--csv", type=Path, required=True, help="a table with a header")
    parser.add_argument("--target", required=True, help="the column to predict")
    parser.add_argument("--features", type=words, help="columns; by default all that hold numbers")
    parser.add_argument("--space", type=Path, help="of the networks in the column `choices`")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the folds and the trees")
    parser.add_argument(
        "--products",
        choices=("auto", "none", "same", "all"),
        nargs="?",
        const="all",
        default="auto",
        help="of two features as terms: none, those of one part (by the first number in their "
        "names), all, or whichever does best inside each fold (auto)",
    )
    parser.add_argument("--relative", action="store_true", help="fit relative errors")
    parser.add_argument("--json", type=Path, help="write the predictor")
    parser.add_argument("--picture", type=Path, help="write a PNG of what each feature adds")
    flags = parser.parse_args()
    try:
        run(flags)
    except (UserError, SpaceError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def run(flags: argparse.Namespace) -> None:
    """Read, judge, fit on everything, show, write."""
    cells = read_table(flags.csv)
    features = flags.features and [name.strip() for name in flags.features]
    if flags.space is not None:
        cells, found = with_features(cells, flags.space)
        features = features or found
    examples, notes = examples_of(cells, flags.target, features)
    print(f"{flags.csv}: {len(examples.target_N)} rows, {len(examples.names)} features of")
    print(f"'{flags.target}': {', '.join(examples.names)}")
    for note in notes + remarks(examples):
        print(f"note: {note}")
    parts = folds(examples, flags.folds, np.random.default_rng(flags.seed))
    ours = explain(examples, selection(flags.products, flags.relative), parts)
    others: Mapping[str, Learner] = {LEAST_SQUARES: least_squares, TREES: trees(flags.seed)}
    errors = {OURS: ours.error} | {
        name: judge(examples.target_N, cross_validate(examples, parts, learn))
        for name, learn in others.items()
    }
    print(f"\n{flags.folds} folds (seed {flags.seed}), each row predicted without its fold:\n")
    print(error_table(errors))
    predictor, worth = ours.predictor, ours.added
    print(f"\nFitted on all rows: {in_words(predictor)}.\n\n{terms_table(predictor, examples)}")
    rest = len(predictor.features) - len(worth)
    some = f" (the {len(worth)} that move it most; {rest} were not tried)" if rest else ""
    print(f"\nWhat each feature adds, on rows not seen{some}:\n\n{added_table(worth)}")
    if flags.json:
        content = predictor.to_json()
        content["notes"] |= {
            "folds": flags.folds,
            "seed": flags.seed,
            "errors": {name: error.to_json() for name, error in errors.items()},
            "added": ours.added_json(),
        }
        write_json(flags.json, SCHEMA, content)
    if flags.picture:
        write_bytes(flags.picture, predictor_png(ours))


def remarks(examples: Examples) -> list[str]:
    """What a reader of the numbers should know of the rows."""
    rows, features = examples.values_NF.shape
    zeros = int((examples.target_N == 0).sum())
    same = rows - len(np.unique(examples.values_NF, axis=0))
    found = []
    if zeros:
        found.append(f"{zeros} targets are 0: relative errors are those of the others.")
    if same:
        found.append(f"{same} rows repeat another's features; such rows share a fold.")
    if features >= rows:
        found.append(
            f"{features} features for {rows} rows: only the penalty decides, and least squares "
            "has no single answer (the smallest one is taken)."
        )
    elif rows < 30:
        found.append(f"{rows} rows are few: another seed may give other numbers.")
    return found


def least_squares(examples: Examples) -> Callable[[Values], Values]:
    """scikit-learn's, on the features as they are."""
    from sklearn.linear_model import LinearRegression

    found = LinearRegression().fit(examples.values_NF, examples.target_N)
    return lambda values_NF: np.asarray(found.predict(values_NF))


def trees(seed: int) -> Learner:
    """scikit-learn's gradient-boosted trees."""

    def learn(examples: Examples) -> Callable[[Values], Values]:
        from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor

        if len(examples.target_N) < MANY:
            model = GradientBoostingRegressor(
                n_estimators=300, learning_rate=0.05, max_depth=3, random_state=seed
            )
        else:
            model = HistGradientBoostingRegressor(random_state=seed)
        found = model.fit(examples.values_NF, examples.target_N)
        return lambda values_NF: np.asarray(found.predict(values_NF))

    return learn


def in_words(predictor: Predictor) -> str:
    """What was chosen."""
    form = predictor.notes["form"]
    products = {
        "none": "the features alone",
        "same": "the features and products within each part",
        "all": "the features and all their products",
    }[form["products"]]
    fitted = "the target's logarithm" if form["log"] else "the target"
    weights = ", relative errors" if form["relative"] else ""
    return f"{fitted} from {products}{weights}, penalty {predictor.notes['penalty']:.2g}"


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
    more = f"\n\nand {rest} terms that move it less (all are in the JSON)." if rest else ""
    unit = "of the logarithm " if predictor.log else ""
    head = ("term", f"coefficient {unit}per unit", "95% interval", "per standard deviation")
    return table(head, rows) + more


def added_table(worth: Mapping[str, Contribution]) -> str:
    """What each feature adds, the most first."""
    ordered = sorted(worth, key=lambda name: -worth[name].lost)
    rows = [(n, f"{worth[n].lost:+.4f}", f"{worth[n].alone:.4f}") for n in ordered[:SHOWN]]
    return table(("feature", "R2 lost without it", "R2 by it alone"), rows)


if __name__ == "__main__":
    main()
