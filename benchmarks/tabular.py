"""How many architectures each search needs: `python -m benchmarks.tabular --table FILE`.

The project's own algorithms, with the params of `params.yaml`, search NAS-Bench-Macro, whose 6,561
networks were all trained three times (the file is the published table; it is not part of the
project). `benchmarks.tabular_table` says how an evaluation is made of a published accuracy.

PARSEC gets its best: every fixed number of samples of a list, and at the best of them other
learning rates. The defaults were not tuned on this table; the variants of FP-NAS were, with seeds
from 100 on, and reported are those from 0 on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from threadpoolctl import threadpool_limits

from benchmarks.results import replace_sections
from benchmarks.tabular_compare import Compared, compare
from benchmarks.tabular_picture import picture
from benchmarks.tabular_report import introduction, section, to_json
from benchmarks.tabular_runs import Setting
from benchmarks.tabular_table import Table
from core.files import write_bytes, write_json
from core.settings import read_section
from models.search.settings import SearchParams

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = "netwright/tabular/1"
TITLE = "How many architectures a search needs"


def settings(flops: float) -> tuple[Setting, ...]:
    """With and without a budget, judged on the whole test split or on batches as in the search."""
    within = f"at most {flops / 1e6:g} M multiply-accumulates"
    return (
        Setting("whole test split", "split", None),
        Setting(f"whole test split, {within}", "split", flops),
        Setting("batches as in the search", "batches", None),
        Setting(f"batches as in the search, {within}", "batches", flops),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the flags, search, print; write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tabular", description=__doc__)
    parser.add_argument("--table", type=Path, required=True, help="nas-bench-macro_cifar10.json")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--flops", type=float, default=50e6, help="of the settings with a budget")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count(), help="settings at once; one a core"
    )
    parser.add_argument("--json", type=Path, help="write all numbers here")
    parser.add_argument("--out", type=Path, help="write docs/results/tabular.md here, or elsewhere")
    parser.add_argument("--picture", type=Path, help="draw accuracy against samples here")
    args = parser.parse_args(arguments)
    if args.seeds < 2:
        parser.error("--seeds: at least 2, because results are compared seed by seed")
    params = read_section(args.params, "search", SearchParams)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    table = Table.load(args.table)
    asked = [(args.table, setting, params, seeds) for setting in settings(args.flops)]
    with ProcessPoolExecutor(args.processes) as pool:
        found = list(pool.map(_compared, *zip(*asked, strict=True)))
    for one in found:
        print(f"\n## {one.setting.name}\n\n{section(one)}", flush=True)
    if args.json:
        write_json(args.json, SCHEMA, to_json(table, params, seeds, found))
    if args.picture:
        write_bytes(args.picture, picture(found))
    if args.out:
        begin = introduction(table, params, seeds, args.picture and args.picture.name)
        names = [one.setting.name[0].upper() + one.setting.name[1:] for one in found]
        texts = {name: section(one) for name, one in zip(names, found, strict=True)}
        replace_sections(args.out, TITLE, {"Set-up": begin} | texts)


def _compared(file: Path, setting: Setting, params: SearchParams, seeds: Sequence[int]) -> Compared:
    with threadpool_limits(1):  # the processes share the cores already
        return compare(Table.load(file), setting, params, seeds)


if __name__ == "__main__":
    main()
