"""Search algorithms on a real supernet: `python -m benchmarks.search --work FOLDER`.

For every algorithm and seed: how many evaluations it took, those of the shortlist included, how
many seconds the search took, and what its answer is worth by what the search optimises, the NLL of
the recalibrated slice on ALL validation images. With `--epochs` every answer is trained as well,
from its slice as the stage `train` does.

Every algorithm is compared with random search at its own number of evaluations. Evolution,
hurricane and annealing evaluate on `fitness_images` in every step, FP-NAS, PARSEC and random search
on a batch, and on `fitness_images` a shortlist at the end: an evaluation of the former costs
several of the latter. Regret is an answer's NLL minus the lowest of any answer of any algorithm and
seed; intervals are Student's t, paired over the seeds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.compare import Difference, spread_of
from benchmarks.harness.flags import add_release, flags_of, require_known, words
from benchmarks.harness.judged import answer_now
from benchmarks.harness.markdown import table, write_sections
from benchmarks.harness.release import Release, search_settings
from benchmarks.harness.runs import Row, Runs
from core.process import prepare_machine
from models.nets.subnet import shrink_and_perturb
from models.nets.supernet import extract
from models.search.algorithms import ALGORITHMS, Algorithm
from models.search.algorithms.base import SampledSettings
from models.search.evaluation import common_evaluation, evaluation
from models.search.loop import one_step, shortlist_size
from models.space.architecture import Architecture
from models.space.costs import flops
from models.training.settings import TrainParams

RANDOM, FP_NAS, REFERENCE = "random", "fp_nas", "parsec"
MARGIN = 0.003
"""Nats below which a difference is none: a fifth of the spread of random networks within the
budget, and what the answers of one algorithm differ by from seed to seed."""
_MILLI = 1e3

Run = Mapping[str, Any]


def answers_compared(run: Run, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Those of a run's answers that are compared: at the evaluations of runs with its seed."""
    counts = {other["evaluated"] for other in runs if other["seed"] == run["seed"]}
    compared = [answer_at(run, count) for count in counts]
    return [answer for answer in run["answers"] if answer in compared]


def answer_at(run: Run, count: int) -> dict[str, Any]:
    """A run's answer after at most so many evaluations (its first answer, if fewer)."""
    made = [one for one in run["answers"] if one["evaluations"] <= count]
    found: dict[str, Any] = (made or run["answers"])[-1 if made else 0]
    return found


def final(runs: Sequence[Run], key: str) -> list[float]:
    """A number of every run's last answer."""
    return [run["answers"][-1][key] for run in runs]


def over_random(chance: Sequence[Run], runs: Sequence[Run], key: str) -> Difference:
    """An algorithm's number minus random search's, same seeds, as many evaluations."""
    by_seed = {run["seed"]: run for run in chance}
    equal = [answer_at(by_seed[run["seed"]], run["evaluated"])[key] for run in runs]
    return Difference.of(final(runs, key), equal)


def report(runs: Mapping[str, Sequence[Run]]) -> str:
    """What answers are worth, which algorithms beat random search, and FP-NAS against others."""
    chance, rivals = runs[RANDOM], {n: found for n, found in runs.items() if n != RANDOM}
    rows = rivals | {RANDOM: chance}
    least = min(min(final(found, "nll")) for found in rows.values())
    reference = rows.get(REFERENCE)
    parts = [
        table(_HEAD, [_worth(name, found, least, reference) for name, found in rows.items()]),
        "Against random search with as many evaluations, paired over the seeds, with the 95% "
        "interval; NLL in thousandths of a nat, less is better:",
        table(
            ("algorithm", "NLL over random", "", "accuracy points over random"),
            [_against_random(name, chance, found) for name, found in rivals.items()],
        ),
    ]
    own = rivals.get(FP_NAS, ())
    pairs = [_fp_nas(own, n, others) for n, others in rivals.items() if own and n != FP_NAS]
    if pairs:
        parts += [
            "FP-NAS minus others, paired over the seeds, NLL in thousandths of a nat, with the 90% "
            f"interval; no worse where it ends below +{_MILLI * MARGIN:g}, better where it ends "
            "below 0:",
            table(("minus", "evaluations", "NLL", ""), pairs),
        ]
    return "\n\n".join(parts)


_HEAD = (
    *("algorithm", "evaluated", "distinct", "seconds", "time over PARSEC", "million MACs"),
    *("NLL", "regret, thousandths of a nat", "accuracy %", "test accuracy %"),
)


def _worth(
    name: str, found: Sequence[Run], least: float, reference: Sequence[Run] | None
) -> list[str]:
    nll, ratio, trained = final(found, "nll"), "-", "-"
    if reference:
        pairs = zip(found, reference, strict=True)
        ratio = f"{statistics.median(a['seconds'] / b['seconds'] for a, b in pairs):.2f}"
    if "accuracy" in found[0]:
        trained = spread_of([100 * run["accuracy"] for run in found], 2)
    return [
        f"`{name}`",
        spread_of([run["evaluated"] for run in found], 0),
        spread_of([run["distinct"] for run in found], 0),
        spread_of([run["seconds"] for run in found], 1),
        ratio,
        spread_of([run["flops"] / 1e6 for run in found], 2),
        spread_of(nll, 4),
        spread_of([_MILLI * (value - least) for value in nll], 1),
        spread_of([100 * value for value in final(found, "val_accuracy")], 2),
        trained,
    ]


def _against_random(name: str, chance: Sequence[Run], found: Sequence[Run]) -> list[str]:
    nll, right = (over_random(chance, found, key) for key in ("nll", "val_accuracy"))
    verdict = {"worse": "better", "better": "worse"}.get(nll.verdict, "undecided")  # less is better
    return [f"`{name}`", nll.shown(1, _MILLI), verdict, right.shown(2, 100)]


def _fp_nas(own: Sequence[Run], other: str, others: Sequence[Run]) -> list[str]:
    gap = Difference.of(final(own, "nll"), final(others, "nll"))
    verdict = "better" if gap.below(0) else "no worse" if gap.below(MARGIN) else "not shown"
    counts = [statistics.fmean(run["evaluated"] for run in some) for some in (own, others)]
    evaluations = f"{counts[0]:.0f} against {counts[1]:.0f}"
    return [f"`{other}`", evaluations, gap.shown(1, _MILLI, 0.9), verdict]


PLAIN = ("parsec", "fp_nas", "evolution", "hurricane", "annealing")
"""The default algorithms; `exhaustive` looks at no image and has no samples."""


def run_search(
    release: Release, name: str, seed: int, counts: Sequence[int] = (), **changes: object
) -> Row:
    """One search: its answer and what it took.

    Args:
        release: what is searched.
        name: the algorithm.
        seed: of the search.
        counts: also the answers that it would have ended with after so many evaluations.
        changes: of its settings.
    """
    params = search_settings(release.params, name, seed, **changes)
    space = release.space
    began = time.perf_counter()
    algorithm = ALGORITHMS[name](release.problem, params)
    evaluate = evaluation(algorithm, release.supernet, release.images)
    judge = common_evaluation(params, release.supernet, release.images)
    answers: list[Row] = []
    distinct: set[str] = set()
    ends = {steps_within(count, algorithm) for count in counts}
    while not algorithm.finished:
        rows = one_step(algorithm, space.architecture, evaluate)
        distinct |= {row.architecture_id for row in rows}
        if algorithm.finished or algorithm.step in ends:
            found, evaluations = answer_now(algorithm, space.architecture, judge)
            network = space.architecture(found).to_json()
            answers.append({"evaluations": evaluations, "architecture": network})
    best = Architecture.from_json(answers[-1]["architecture"])
    return {
        "algorithm": name,
        "seed": seed,
        "answers": answers,
        "short": best.short(),
        "flops": flops(best),
        "sampled": algorithm.samples,
        "evaluated": answers[-1]["evaluations"],
        "distinct": len(distinct),
        "seconds": time.perf_counter() - began,
    }


def steps_within(count: int, algorithm: Algorithm) -> int:
    """The most steps of a fixed number of samples that leave room for the shortlist in `count`."""
    assert isinstance(algorithm.settings, SampledSettings)
    samples = max(count - shortlist_size(algorithm), count // 2)  # it has no more than are sampled
    return max(1, samples // algorithm.settings.fixed_samples)


def evaluate_answers(release: Release, found: list[Row], runs: Runs) -> list[Row]:
    """Add NLL and accuracy on all validation images to every answer; each network once."""
    judge = release.validation_judge()

    def compute(network: Architecture) -> Row:
        (result,) = judge(0, [network])
        return {"nll": result.nll, "val_accuracy": result.accuracy}

    def judged(one: Row) -> Row:
        network = Architecture.from_json(one["architecture"])
        return one | runs.get(f"val {network.id}", partial(compute, network))

    return [run | {"answers": [judged(a) for a in answers_compared(run, found)]} for run in found]


def train_answer(release: Release, run: Row, epochs: float, work: Path) -> Row:
    """Test accuracy after the release's final training from the slice, for so many epochs."""
    changes = {"epochs": epochs, "min_steps": 1, "seed": run["seed"]}
    params = release.settings("train", TrainParams, **changes)
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
    random = ALGORITHMS[RANDOM](release.problem, search_settings(release.params, RANDOM, 0))
    for seed in range(args.seeds):
        counts = sorted({run["evaluated"] for run in found if run["seed"] == seed})
        steps = steps_within(counts[-1], random)
        long = partial(run_search, release, RANDOM, seed, counts, steps=steps)
        found.append(runs.get(f"{RANDOM} {'-'.join(map(str, counts))}-seed{seed}", long))
    found = evaluate_answers(release, found, runs)
    if args.epochs:
        for run in found:
            network = Architecture.from_json(run["answers"][-1]["architecture"]).id
            train = partial(train_answer, release, run, args.epochs, runs.folder)
            run |= runs.get(f"train {network} {args.epochs:g}-seed{run['seed']}", train)
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
    args = parser.parse_args()
    require_known(parser, args.algorithms, ALGORITHMS)
    args.algorithms = [name for name in args.algorithms if name != RANDOM]
    if not args.algorithms:
        parser.error("--algorithms: random search needs another to be compared with")
    return args


if __name__ == "__main__":
    main()
