"""Search algorithms on a real supernet: `python -m benchmarks.search`.

For every algorithm and seed: how many architectures it sampled, how many seconds the search took,
what its answer costs, and the test accuracy of that answer after the same final training as every
other's. With `--epochs 0` nothing is trained: answers are judged by what the search optimises
(`benchmarks.search_measure`). It reads a finished release's artifacts (data, supernet, teacher, one
device's profile).

Searches run one after the other and take turns over the algorithms, so that a drift of the machine
favours none; their seconds are then given as ratios to PARSEC's of the same seed. Every search and
every training is kept in `--work`, and a second run continues there. The same network with the
same seed is trained once, whoever found it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.results import replace_sections, spread_of, table
from benchmarks.search_measure import FP_NAS, RANDOM, measure, measured_report
from benchmarks.search_run import searched
from benchmarks.search_setting import ROOT, SCHEMA, Setting, accuracy_of, kept
from core.files import write_json
from core.process import prepare_machine
from core.settings import read_section
from models.nets.supernet import extract
from models.search.algorithms import ALGORITHMS
from models.search.settings import SearchParams
from models.space.architecture import Architecture
from models.training.settings import TrainParams
from models.training.warm_start import shrink_and_perturb

REFERENCE = "parsec"
VARIANTS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "fp_nas, from all": (
        "fp_nas",
        {"learn_from": "all", "min_samples": 5, "stop_when_sharp": True},
    ),
    "parsec, 5 a step": ("parsec", {"fixed_samples": 5}),
}
"""What FP-NAS is compared with besides by the supernet's own measure: its other way to learn, and
PARSEC with as many samples as that takes."""
PLAIN = ("parsec", "fp_nas", "evolution", "hurricane", "annealing", "random")
"""What is compared unless asked otherwise; `exhaustive` looks at no image and has no samples."""


def trained(
    setting: Setting, architecture: Architecture, seed: int, epochs: float, work: Path
) -> dict[str, float]:
    """Test accuracy after the release's final training from the slice, shortened to `epochs`."""
    params = read_section(setting.params, "train", TrainParams)
    network = extract(setting.supernet, architecture)
    shrink_and_perturb(network, params.slice_share, torch.Generator().manual_seed(seed))
    return accuracy_of(setting, network, seed, epochs, work)


def main() -> None:
    args = _flags()
    prepare_machine(args.threads, 0)
    setting = Setting.open(args)
    args.work = setting.kept_in(args.work)
    if args.epochs == 0:
        heading, (text, runs) = "By the supernet's own measure", measured(setting, args)
    else:
        heading, runs = "All algorithms", all_searched(setting, args, args.algorithms)
        train_all(setting, runs, args)
        text = report(runs, args)
    print(text)
    if args.json is not None:
        write_json(args.json, SCHEMA, {"runs": runs})
    if args.out is not None:
        replace_sections(args.out, "Search on a real supernet", {heading: text})


def measured(setting: Setting, args: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """The report by the supernet's own measure, and its runs; random search is always among them.

    Random search takes as many steps as the algorithm with the most evaluations needs.
    """
    runs = all_searched(setting, args, [name for name in args.algorithms if name != RANDOM])
    if FP_NAS in args.algorithms:
        for seed, (label, (name, changes)) in product(range(args.seeds), VARIANTS.items()):
            file = args.work / f"{label.replace(', ', '-').replace(' ', '_')}-{seed}.json"
            found = kept(file, partial(searched, setting, name, seed, changes))
            runs.append(found | {"algorithm": label})
    a_step = read_section(setting.params, "search", SearchParams).fixed_samples
    steps = -(-max(run["sampled"] for run in runs) // a_step)
    for seed in range(args.seeds):
        file = args.work / f"{RANDOM}-{seed}-{steps}.json"
        runs.append(kept(file, partial(searched, setting, RANDOM, seed, {"steps": steps})))
    runs = measure(setting, runs, args.work)
    names = dict.fromkeys(run["algorithm"] for run in runs)
    by = {name: [run for run in runs if run["algorithm"] == name] for name in names}
    return (
        f"`python -m benchmarks.search --device {args.device} --seeds {args.seeds} --epochs 0 "
        f"--algorithms {','.join(args.algorithms)}`. "
        f"Budget and profile of `{args.device}`; {args.seeds} seeds; mean and standard "
        f"deviation.\n\n{measured_report(by)}"
    ), runs


def all_searched(
    setting: Setting, args: argparse.Namespace, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Every algorithm with every seed; those that were kept are not repeated."""
    runs = []
    for seed in range(args.seeds):
        for name in names:
            runs.append(
                kept(args.work / f"{name}-{seed}.json", partial(searched, setting, name, seed))
            )
            last = runs[-1]
            print(f"{name} seed {seed}: {last['sampled']} sampled, {last['short']}", flush=True)
    return runs


def train_all(setting: Setting, runs: Sequence[dict[str, Any]], args: argparse.Namespace) -> None:
    """Give every run the accuracy of its answer; equal networks of equal seeds share one."""
    for number, run in enumerate(runs):
        network, seed = Architecture.from_json(run["architecture"]), run["seed"]
        file = args.work / f"{network.id}-{seed}-{args.epochs:g}.json"
        run |= kept(file, partial(trained, setting, network, seed, args.epochs, args.work))
        print(f"trained {number + 1} of {len(runs)}: {run['accuracy']:.4f}", flush=True)


def report(runs: Sequence[Mapping[str, Any]], args: argparse.Namespace) -> str:
    """The table, and how FP-NAS stands to PARSEC."""
    by = {name: [run for run in runs if run["algorithm"] == name] for name in args.algorithms}
    rows = [
        [
            name,
            spread_of([run["sampled"] for run in found], 0),
            spread_of([run["distinct"] for run in found], 0),
            spread_of([run["seconds"] for run in found], 1),
            _ratio(found, by.get(REFERENCE), "seconds"),
            spread_of([run["flops"] / 1e6 for run in found], 2),
            spread_of([100 * run["accuracy"] for run in found], 2),
        ]
        for name, found in by.items()
    ]
    head = (
        "algorithm",
        "sampled",
        "distinct",
        "seconds",
        "time over PARSEC",
        "million MACs",
        "test accuracy %",
    )
    seeds = f"{args.seeds} seeds; mean and standard deviation"
    return (
        f"`python -m benchmarks.search --device {args.device} --seeds {args.seeds} "
        f"--epochs {args.epochs:g}`. Budget and profile of `{args.device}`; {seeds}. Every answer "
        f"is trained from its slice for {args.epochs:g} epochs as the stage `train` does.\n\n"
        f"{table(head, rows)}"
    )


def _ratio(
    found: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]] | None, key: str
) -> str:
    """Median over seeds of a number over the reference's of the same seed."""
    if not reference:
        return "-"
    return (
        f"{statistics.median(a[key] / b[key] for a, b in zip(found, reference, strict=True)):.2f}"
    )


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=ROOT / "artifacts")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    parser.add_argument("--space", type=Path, default=ROOT / "models" / "spaces" / "compact.yaml")
    parser.add_argument("--device", default="edge-cpu", help="whose budget and profile")
    known = [name for name in PLAIN if name in ALGORITHMS]
    parser.add_argument("--algorithms", type=lambda text: text.split(","), default=known)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--epochs", type=float, default=1.0, help="of the final training; 0 for none"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="where runs are kept")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out", type=Path, help="Markdown file whose section is replaced")
    args = parser.parse_args()
    if args.epochs == 0 and (args.seeds < 2 or set(args.algorithms) <= {RANDOM}):
        parser.error("--epochs 0 compares algorithms with random search over at least 2 seeds")
    unknown = sorted(set(args.algorithms) - set(ALGORITHMS))
    if unknown:
        parser.error(f"no algorithm {', '.join(unknown)}; there are {', '.join(ALGORITHMS)}")
    return args


if __name__ == "__main__":
    main()
