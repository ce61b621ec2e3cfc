"""Search algorithms on a real supernet: `python -m benchmarks.search --work FOLDER`.

For every algorithm and seed: how many architectures it sampled, how many seconds the search took,
and what its answer is worth by what the search optimises, the NLL of the recalibrated slice on ALL
validation images, which no search sees so well. With `--epochs` every answer is trained as well,
from its slice as the stage `train` does, which reduces the differences. It reads a finished
release's artifacts (data, supernet, teacher, one device's profile).

Random search takes as many steps as the longest search, and every algorithm is compared with it at
equal numbers of evaluations. Searches alternate between the algorithms, so that a drift of the
machine favours none; their seconds are given as ratios to PARSEC's of the same seed.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import torch

from benchmarks.harness.flags import add_release, flags_of, require_known, words
from benchmarks.harness.markdown import write_sections
from benchmarks.harness.release import Release
from benchmarks.harness.runs import SCHEMA, Row, Runs
from benchmarks.search.report import RANDOM, answers_compared, report
from core.files import write_json
from core.process import prepare_machine
from models.nets.subnet import shrink_and_perturb
from models.nets.supernet import extract
from models.search.algorithms import ALGORITHMS
from models.search.algorithms.base import SampledSettings
from models.search.evaluation import evaluation
from models.search.loop import answer, search
from models.space.architecture import Architecture
from models.space.costs import flops
from models.training.settings import TrainParams

PLAIN = ("parsec", "fp_nas", "evolution", "hurricane", "annealing")
"""The default algorithms; `exhaustive` looks at no image and has no samples."""


def run_search(release: Release, name: str, seed: int, **changes: object) -> Row:
    """One search: its answers with the evaluations that each took, its samples, its seconds.

    Of random search, with which others are compared at equal evaluations, also the answers on the
    way.
    """
    params = release.search_settings(name, seed, **changes)
    problem, space = release.problem, release.space
    began = time.perf_counter()
    algorithm = ALGORITHMS[name](problem, params)
    answers: list[Row] = []

    def note(_: object = None) -> None:
        found = space.architecture(answer(algorithm)[0]).to_json()
        if not answers or answers[-1]["architecture"] != found:
            answers.append({"samples": algorithm.samples, "architecture": found})

    judge = evaluation(algorithm, release.supernet, release.images)
    rows = search(algorithm, space.architecture, judge, after_step=note if name == RANDOM else None)
    note()
    best = Architecture.from_json(answers[-1]["architecture"])
    return {
        "algorithm": name,
        "seed": seed,
        "answers": answers,
        "short": best.short(),
        "flops": flops(best),
        "sampled": algorithm.samples,
        "distinct": len({row.architecture_id for row in rows}),
        "seconds": time.perf_counter() - began,
    }


def evaluate_answers(release: Release, found: list[Row], runs: Runs) -> list[Row]:
    """Add NLL and accuracy on all validation images to every answer; each network once."""
    judge = release.validation_judge()

    def judged(one: Row) -> Row:
        network = Architecture.from_json(one["architecture"])

        def compute() -> Row:
            (result,) = judge(0, [network])
            return {"nll": result.nll, "val_accuracy": result.accuracy}

        return one | runs.get(f"val {network.id}", compute)

    return [run | {"answers": [judged(a) for a in answers_compared(run, found)]} for run in found]


def train_answer(release: Release, run: Row, epochs: float, work: Path) -> Row:
    """Test accuracy after the release's final training from the slice, for so many epochs."""
    params = release.settings("train", TrainParams, epochs=epochs, seed=run["seed"])
    network = extract(release.supernet, Architecture.from_json(run["answers"][-1]["architecture"]))
    shrink_and_perturb(network, params.slice_share, torch.Generator().manual_seed(run["seed"]))
    return release.train(network, params, release.artifacts / "teacher", work)


def main() -> None:
    args = _flags()
    prepare_machine(args.threads, 0)
    release = Release.open(args)
    runs = Runs(args.work, *release.inputs("teacher/train_logits.npy"))
    arms = {name: partial(run_search, release, name) for name in args.algorithms}
    found = [run for some in runs.every(arms, range(args.seeds)).values() for run in some]
    random = release.search_settings(RANDOM, 0).algorithm
    assert isinstance(random, SampledSettings)
    steps = -(-max(run["sampled"] for run in found) // random.fixed_samples)
    for seed in range(args.seeds):
        long = partial(run_search, release, RANDOM, seed, steps=steps)
        found.append(runs.get(f"{RANDOM} {steps} steps-seed{seed}", long))
    found = evaluate_answers(release, found, runs)
    if args.epochs:
        for run in found:
            network = Architecture.from_json(run["answers"][-1]["architecture"]).id
            train = partial(train_answer, release, run, args.epochs, runs.folder)
            run |= runs.get(f"train {network} {args.epochs:g}-seed{run['seed']}", train)
    if args.json is not None:
        write_json(args.json, SCHEMA, {"runs": found})
    by = {n: [run for run in found if run["algorithm"] == n] for n in (*args.algorithms, RANDOM)}
    about = (
        f"`python -m benchmarks.search --device {args.device} --seeds {args.seeds} --epochs "
        f"{args.epochs:g} --algorithms {','.join(args.algorithms)}`. Budget and profile of "
        f"`{args.device}`; {args.seeds} seeds; mean and standard deviation."
    )
    heading = "All algorithms" if args.epochs else "By the supernet's own measure"
    sections = {heading: f"{about}\n\n{report(by)}"}
    write_sections(args.out, "Search on a real supernet", sections)


def _flags() -> argparse.Namespace:
    parser = flags_of("search", __doc__, "search.md")
    add_release(parser, "edge-cpu")
    known = [name for name in PLAIN if name in ALGORITHMS]
    parser.add_argument("--algorithms", type=words, default=known, help="besides random search")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=0.0, help="of a final training; 0: none")
    parser.add_argument("--json", type=Path, help="write all runs here")
    args = parser.parse_args()
    require_known(parser, args.algorithms, ALGORITHMS)
    args.algorithms = [name for name in args.algorithms if name != RANDOM]
    if not args.algorithms:
        parser.error("--algorithms: random search needs another to be compared with")
    return args


if __name__ == "__main__":
    main()
