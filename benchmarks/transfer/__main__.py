"""Does a distribution learnt on a small problem save samples: `python -m benchmarks.transfer`.

PARSEC's and FP-NAS's claim. Per seed a small problem is made and solved: a quarter of the training
images at half their height, a supernet of its own, the algorithm's search there. Its
`distribution.json` then starts the same algorithm on the large problem, a finished release's
supernet. Compared, all with the default settings:

- `uniform`: no start;
- `transferred`: from the small problem;
- `costs`: from a search of the small problem in which all networks are equally good. It knows the
  budgets and nothing of the images;
- `shuffled`: the transferred logits permuted within each categorical: as sharp, meaning nothing;
- random sampling.

After some steps (`LOOKS`) the answer of every search is evaluated: its NLL on ALL validation
images, as a recalibrated slice of the large supernet. That is what a search minimises; no test
image is seen and nothing is trained. Decided before the first run: the seeds 0 to 7, this measure,
the mean over the looks from step 5 on as the comparison of starts (paired over seeds, Student's t),
and `MARGIN` as what counts as equal to the uniform start's last answer. The small problem keeps the
LARGE problem's budgets: choices cost what the network of the same names costs there, because a
latency at 14 pixels was never measured and would be another budget.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.flags import add_release, flags_of, integers, require_known, words
from benchmarks.harness.markdown import write_sections
from benchmarks.harness.release import Release
from benchmarks.harness.runs import SCHEMA, Row, Runs
from benchmarks.transfer.report import report
from benchmarks.transfer.small import Small, search_small, training_macs
from core.files import write_json
from core.process import prepare_machine
from models.search.algorithms import ALGORITHMS
from models.search.evaluation import Evaluate, evaluation
from models.search.loop import answer, search
from models.search.problem import Problem
from models.search.settings import SearchParams
from models.space.costs import flops
from models.space.distribution import Distribution
from models.training.supernet.settings import SupernetParams

LOOKS = (0, 5, 10, 15, 20, 30, 45, 60)
"""Steps after which the answer of a search is evaluated; the last step is one of them."""
STARTS = ("uniform", "transferred", "costs", "shuffled")
_SHUFFLE = 8  # separates its generator from others of the seed


@dataclass(frozen=True)
class Comparison:
    """What all searches of the large problem share.

    Attributes:
        release: data, space, supernet and settings.
        judge: the measure.
        start_weight: of starts; None for that of the settings.
    """

    release: Release
    judge: Evaluate
    start_weight: float | None = None

    @property
    def problem(self) -> Problem:
        """The space within the device's budgets."""
        return self.release.problem

    def settings(self, name: str, seed: int) -> SearchParams:
        """The settings of one search."""
        changes = {} if self.start_weight is None else {"start_weight": self.start_weight}
        return self.release.search_settings(name, seed, **changes)

    def search_small(self, small: Small, name: str, seed: int, runs: Runs) -> Row:
        """Search the small problem, once by its images and once by costs alone."""
        problem = replace(self.problem, images=min(self.problem.images, len(small.images.val)))
        found = {}
        for start in ("transferred", "costs"):
            algorithm = ALGORITHMS[name](problem, self.settings(name, seed))
            learn = partial(search_small, algorithm, small, start == "costs")
            found[start] = runs.get(f"small {name} {start}-seed{seed}", learn)
        return found

    def start(self, name: str, start: str, seed: int, small: Row) -> Distribution | None:
        """The distribution that a search begins with; None is the uniform one."""
        if start == "uniform":
            return None
        content = small["transferred" if start == "shuffled" else start]["distribution"]
        params = self.settings(name, seed)
        saved = Distribution.from_json(content, self.problem.groups)[0]
        read = saved.with_logits(params.start_weight * saved.logits)
        if start != "shuffled":
            return read
        own = ALGORITHMS[name](self.problem, params).distribution
        assert own is not None
        return shuffle(read.as_form(own.form), np.random.default_rng([seed, _SHUFFLE]))

    def search_large(self, name: str, start: Distribution | None, seed: int) -> Row:
        """One search of the large problem: its answer at every look."""
        release, space = self.release, self.release.space
        problem = replace(self.problem, start=start)
        algorithm = ALGORITHMS[name](problem, self.settings(name, seed))
        looks: list[Row] = []

        def look(_: object = None) -> None:
            if algorithm.step in LOOKS or algorithm.finished:
                here = space.architecture(answer(algorithm)[0])
                looks.append(
                    {
                        "step": algorithm.step,
                        "samples": algorithm.samples,
                        "entropy": algorithm.distribution and algorithm.distribution.entropy(),
                        "architecture_id": here.id,
                        "flops": flops(here),
                        "nll": self.judge(0, [here])[0].nll,
                    }
                )

        look()
        judge = evaluation(algorithm, release.supernet, release.images)
        rows = search(algorithm, space.architecture, judge, after_step=look)
        drawn = [space.architecture(tuple(map(int, row.choices.split()))) for row in rows]
        return {"looks": looks, "macs": self.problem.images * sum(map(flops, drawn))}


def shuffle(distribution: Distribution, rng: np.random.Generator) -> Distribution:
    """The logits permuted at random within each categorical."""
    logits = distribution.logits.copy()
    for factor in distribution.factors:
        logits[factor.part] = rng.permutation(logits[factor.part])
    return distribution.with_logits(logits)


def one_seed(compared: Comparison, seed: int, args: argparse.Namespace, runs: Runs) -> Row:
    """The small problem and all searches of one seed."""
    work = runs.folder / f"small-{seed}"
    small = Small.train(compared.release, seed, args.share, args.epochs, work)
    searches: dict[str, Callable[[], Row]] = {}
    found: dict[str, Any] = {"seed": seed, "small": {}}
    for name in args.algorithms:
        found["small"][name] = compared.search_small(small, name, seed, runs)
        for start in args.starts:
            begin = compared.start(name, start, seed, found["small"][name])
            searches[f"{name} {start}"] = partial(compared.search_large, name, begin, seed)
    searches["random"] = partial(compared.search_large, "random", None, seed)
    found["runs"] = {key: runs.get(f"{key}-seed{seed}", run) for key, run in searches.items()}
    return found | {"small_training_macs": training_macs(small.space, small.steps, small.batch)}


def large_training_macs(release: Release) -> float:
    """MACs of the release's supernet, had it been trained by single paths."""
    params = release.settings("supernet", SupernetParams)
    batch = min(params.batch, len(release.images.train))
    steps = params.recipe(len(release.images.train) // batch).steps
    return training_macs(release.space, steps, batch)


def main() -> None:
    args = _flags()
    prepare_machine(args.threads, 0)
    release = Release.open(args)
    counted = (args.share, args.epochs, args.threads, args.start_weight)
    runs = Runs(args.work, *release.inputs(), *counted)
    compared = Comparison(release, release.validation_judge(), args.start_weight)
    seeds = [one_seed(compared, seed, args, runs) for seed in args.seeds]
    content = {"seeds": seeds, "training_macs": large_training_macs(release)}
    if args.json is not None:
        write_json(args.json, SCHEMA, content)
    weight = compared.settings(args.algorithms[0], 0).start_weight
    sections = report(content, args.algorithms, weight)
    write_sections(args.out, "A start from a small problem", sections)


def _flags() -> argparse.Namespace:
    parser = flags_of("transfer", __doc__, "transfer.md")
    add_release(parser, "edge-cpu")
    parser.add_argument("--algorithms", type=words, default=["parsec", "fp_nas"])
    parser.add_argument("--seeds", type=integers, default=list(range(8)))
    parser.add_argument("--starts", type=words, default=list(STARTS))
    parser.add_argument("--start-weight", type=float, help="instead of the params'")
    parser.add_argument("--share", type=float, default=0.25, help="of the images")
    parser.add_argument("--epochs", type=float, default=4.0, help="of the small supernet")
    parser.add_argument("--json", type=Path, help="write all runs here")
    args = parser.parse_args()
    reading = [name for name, kind in ALGORITHMS.items() if kind.reads_start]
    require_known(parser, args.algorithms, reading)
    require_known(parser, args.starts, STARTS)
    if "uniform" not in args.starts or len(args.seeds) < 2:
        parser.error("starts are compared with `uniform`, over at least two seeds")
    return args


if __name__ == "__main__":
    main()
