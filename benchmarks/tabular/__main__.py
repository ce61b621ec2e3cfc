"""How many architectures each search needs: `python -m benchmarks.tabular --table FILE`.

The project's own algorithms search NAS-Bench-Macro, whose 6,561 networks were all trained three
times (the file is the published table; it is not part of the project). PARSEC is run at its best:
every fixed number of samples of a list, and at the best of them other learning rates.

The part `race` compares ways of choosing the networks that are really trained.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from threadpoolctl import threadpool_limits

from benchmarks.harness.flags import PARAMS, flags_of
from benchmarks.harness.markdown import write_sections
from benchmarks.harness.release import search_settings
from benchmarks.tabular.compare import Compared, Setting, compare
from benchmarks.tabular.race_report import BUDGETS, Raced, race_picture, race_section, raced
from benchmarks.tabular.report import introduction, picture, section
from benchmarks.tabular.table import Table
from core.files import write_bytes

FLOPS = 50e6
"""Of the settings with a budget."""


def settings(flops: float) -> tuple[Setting, ...]:
    """With and without a budget, on the whole test split or on batches as in the search."""
    within = f"at most {flops / 1e6:g} M multiply-accumulates"
    return (
        Setting("whole test split", "split", None),
        Setting(f"whole test split, {within}", "split", flops),
        Setting("batches as in the search", "batches", None),
        Setting(f"batches as in the search, {within}", "batches", flops),
    )


def main() -> None:
    parser = flags_of("tabular", __doc__)
    parser.add_argument("--table", type=Path, required=True, help="nas-bench-macro_cifar10.json")
    parser.add_argument("--part", choices=("algorithms", "race", "all"), default="all")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--out", type=Path, help="write docs/results/tabular.md here, or elsewhere")
    parser.add_argument(
        "--picture", type=Path, help="draw accuracy against samples here, regret in NAME-race.png"
    )
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error("--seeds: at least 2, because results are compared seed by seed")
    sections: dict[str, str] = {}
    with ProcessPoolExecutor() as pool:
        if args.part != "race":
            sections |= _algorithms(pool, args)
        if args.part != "algorithms":
            sections |= _race(pool, args)
    write_sections(args.out, "How many architectures a search needs", sections)


def _algorithms(pool: ProcessPoolExecutor, args: argparse.Namespace) -> dict[str, str]:
    """The sections about search algorithms."""
    seeds = range(args.seeds)
    table, params = Table.load(args.table), search_settings(args.params, "fp_nas", 0)
    jobs = [(args.table, setting, args.params, seeds) for setting in settings(FLOPS)]
    found = list(pool.map(_compare, *zip(*jobs, strict=True)))
    if args.picture:
        write_bytes(args.picture, picture(found))
    begin = introduction(table, params, seeds, args.picture and args.picture.name)
    named = {one.setting.name[0].upper() + one.setting.name[1:]: section(one) for one in found}
    return {"Set-up": begin} | named


def _race(pool: ProcessPoolExecutor, args: argparse.Namespace) -> dict[str, str]:
    """The section about the race."""
    jobs = [(args.table, budget, range(args.seeds)) for budget in BUDGETS]
    found = list(pool.map(_raced, *zip(*jobs, strict=True)))
    drawn = args.picture and args.picture.with_stem(f"{args.picture.stem}-race")
    if drawn:
        write_bytes(drawn, race_picture(found))
    return {"The race": race_section(found, range(args.seeds), drawn and drawn.name)}


def _raced(file: Path, budget: float, seeds: Sequence[int]) -> Raced:
    with threadpool_limits(1):
        return raced(file, budget, seeds)


def _compare(file: Path, setting: Setting, params: Path, seeds: Sequence[int]) -> Compared:
    with threadpool_limits(1):  # the processes share the cores already
        return compare(Table.load(file), setting, params, seeds)


if __name__ == "__main__":
    main()
