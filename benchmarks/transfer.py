"""Does a distribution learnt on a small problem save samples: `python -m benchmarks.transfer`.

PARSEC's and FP-NAS's claim. Per seed a small problem is made and solved: a quarter of the training
images at half their height, a supernet of its own, the algorithm's search there. Its
`distribution.json` then starts the same algorithm on the large problem, a finished release's
supernet, as `search.start_from` does. Compared, all with the default params:

- `uniform`: no start;
- `transferred`: from the small problem;
- `costs`: from a search of the small problem in which all networks are equally good. It knows the
  budgets and nothing of the images;
- `shuffled`: the transferred logits permuted within each categorical: as sharp, meaning nothing;
- random sampling.

At some steps (`LOOKS`) every search is asked for its answer, whose NLL on ALL validation images is
taken as a recalibrated slice of the large supernet. That is what a search minimises; no test image
is seen and nothing is trained. Decided before the first run: the seeds 0 to 7, this measure, the
mean over the looks from step 5 on as the comparison of starts (paired over seeds, Student's t), and
`MARGIN` as what counts as equal to the uniform start's last answer. The small problem keeps the
LARGE problem's budgets: choices cost what the network of the same names costs there, for a latency
at 14 pixels was never measured and would be another budget.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import replace_sections
from benchmarks.search_setting import ROOT, SCHEMA, Setting, kept
from benchmarks.transfer_report import report
from benchmarks.transfer_small import Small, batch_judge, learnt, training_macs
from core.files import write_json
from core.process import prepare_machine
from core.settings import read_section
from data.stream import eval_batches
from devices.fleet.read import pick_device
from devices.latency.budgets import read_latency_table
from models.nets.supernet import Supernet
from models.search.algorithms import ALGORITHMS
from models.search.evaluation import recalibrated_evaluation
from models.search.loop import answer, problem_of, search
from models.search.problem import Problem
from models.search.rank.settings import RankParams
from models.search.settings import SearchParams
from models.search.start import Start
from models.space.architecture import Architecture
from models.space.costs import flops
from models.space.distribution import Distribution
from models.training.learning import EVAL_BATCH, Images
from models.training.supernet.settings import SupernetParams
from stages.search import search_budgets

LOOKS = (0, 5, 10, 15, 20, 30, 45, 60)
"""Steps after which a search is asked for its answer; the last step is looked at too."""
STARTS = ("uniform", "transferred", "costs", "shuffled")
_SHUFFLE = 8  # keeps its draws apart from other generators of one seed

Nll = Callable[[Architecture], float]


@dataclass(frozen=True)
class Comparison:
    """What all searches of the large problem share.

    Attributes:
        setting: data, space, supernet.
        problem: the space within the device's budgets.
        params: the section `search`.
        nll: the measure.
    """

    setting: Setting
    problem: Problem
    params: SearchParams
    nll: Nll

    @classmethod
    def of(cls, setting: Setting, weight: float | None = None) -> Comparison:
        """That of a release's params and of one of its devices.

        Args:
            setting: the release.
            weight: of starts, where not the params'.
        """
        params = read_section(setting.params, "search", SearchParams)
        if weight is not None:
            params = params.model_copy(update={"start_weight": weight})
        device = pick_device(setting.params, setting.device)
        latency = read_latency_table(setting.artifacts / "profile" / setting.device)
        margin = params.latency_margin
        asked = search_budgets(setting.space, setting.device, device, latency, margin)
        problem = problem_of(
            setting.space, asked.limits, min(params.batch, len(setting.images.val))
        )
        rank = read_section(setting.params, "rank", RankParams)
        return cls(setting, problem, params, validation_nll(setting.supernet, setting.images, rank))

    def params_of(self, name: str, seed: int) -> SearchParams:
        """The release's, for one search."""
        return self.params.model_copy(update={"algorithm": name, "seed": seed})

    def solved_small(self, small: Small, name: str, seed: int, work: Path) -> dict[str, Any]:
        """Search the small problem, once by its images and once by costs alone."""
        problem = replace(self.problem, images=min(self.problem.images, len(small.images.val)))
        return {
            start: learnt(
                ALGORITHMS[name](problem, self.params_of(name, seed)),
                small,
                work / f"{name}-{start}",
                costs_alone=start == "costs",
            )
            for start in ("transferred", "costs")
        }

    def start(self, name: str, start: str, seed: int, work: Path) -> Distribution | None:
        """The distribution that a search begins with; None is the uniform one."""
        if start == "uniform":
            return None
        folder = work / f"{name}-{'transferred' if start == 'shuffled' else start}"
        groups, weight = self.problem.groups, self.params.start_weight
        read = Start.read(folder / "distribution.json", groups, weight).distribution
        assert read is not None
        if start != "shuffled":
            return read
        own = ALGORITHMS[name](self.problem, self.params_of(name, seed)).distribution
        assert own is not None
        return shuffled(read.as_form(own.form), np.random.default_rng([seed, _SHUFFLE]))

    def followed(self, name: str, start: Distribution | None, seed: int) -> dict[str, Any]:
        """One search of the large problem: its answer at every look."""
        algorithm = ALGORITHMS[name](replace(self.problem, start=start), self.params_of(name, seed))
        looks: list[dict[str, Any]] = []

        def look() -> None:
            if algorithm.step in LOOKS or algorithm.finished:
                here = self.setting.space.architecture(answer(algorithm)[0])
                looks.append(
                    {
                        "step": algorithm.step,
                        "samples": algorithm.samples,
                        "entropy": algorithm.distribution and algorithm.distribution.entropy(),
                        "architecture_id": here.id,
                        "short": here.short(),
                        "flops": flops(here),
                        "nll": self.nll(here),
                    }
                )

        look()
        judge = batch_judge(algorithm, self.setting.supernet, self.setting.images)
        architecture = self.setting.space.architecture
        rows = search(algorithm, architecture, judge, after_step=lambda _: look())
        drawn = [tuple(map(int, row.choices.split())) for row in rows]
        per_image = sum(flops(architecture(choices)) for choices in drawn)
        return {"looks": looks, "macs": self.problem.images * per_image}


def validation_nll(supernet: Supernet, images: Images, params: RankParams) -> Nll:
    """The NLL of recalibrated slices on all validation images; each is judged once."""
    calibration = images.calibration(params.recalibration_batches, params.batch, params.seed)
    batches = list(eval_batches(images.val, images.info, EVAL_BATCH))
    judge = recalibrated_evaluation(supernet, calibration, batches)
    return lambda architecture: judge(0, [architecture])[0].nll


def shuffled(distribution: Distribution, rng: np.random.Generator) -> Distribution:
    """The logits permuted at random within each categorical."""
    logits = distribution.logits.copy()
    for factor in distribution.factors:
        logits[factor.part] = rng.permutation(logits[factor.part])
    return distribution.with_logits(logits)


def one_seed(
    compared: Comparison, seed: int, args: argparse.Namespace, work: Path
) -> dict[str, Any]:
    """The small problem and all searches of one seed; what is kept is not repeated."""
    folder = work / f"seed-{seed}"
    small = Small.made(compared.setting, seed, args.share, args.epochs, folder)
    found: dict[str, Any] = {"seed": seed, "runs": {}, "small": {}}
    for name in args.algorithms:
        found["small"][name] = compared.solved_small(small, name, seed, folder)
        for start in args.starts:
            known = "uniform" if start == "uniform" else f"{start}-{compared.params.start_weight:g}"
            found["runs"][f"{name} {start}"] = kept(
                folder / f"{name}-{known}.json",
                partial(_run, compared, name, start, seed, folder),
            )
    found["runs"]["random"] = kept(
        folder / "random.json", partial(compared.followed, "random", None, seed)
    )
    return found | {"small_training_macs": training_macs(small.space, small.steps, small.batch)}


def _run(compared: Comparison, name: str, start: str, seed: int, work: Path) -> dict[str, Any]:
    run = compared.followed(name, compared.start(name, start, seed, work), seed)
    last = run["looks"][-1]
    print(f"{name} {start}, seed {seed}: {last['nll']:.4f} {last['short']}", flush=True)
    return run


def large_training_macs(setting: Setting) -> float:
    """What the release's supernet took, had it been trained by single paths."""
    params = read_section(setting.params, "supernet", SupernetParams)
    batch = min(params.batch, len(setting.images.train))
    steps = params.recipe(len(setting.images.train) // batch).steps
    return training_macs(setting.space, steps, batch)


def main() -> None:
    args = _flags()
    prepare_machine(args.threads, 0)
    setting = Setting.open(args)
    work = setting.kept_in(args.work, args.share, args.epochs, args.threads)
    compared = Comparison.of(setting, args.start_weight)
    seeds = [one_seed(compared, seed, args, work) for seed in args.seeds]
    content: Mapping[str, Any] = {"seeds": seeds, "training_macs": large_training_macs(setting)}
    if args.json is not None:
        write_json(args.json, SCHEMA, content)
    if len(seeds) < 2:
        print("one seed has no spread: name at least two for the tables.")
        return
    sections = report(content, args.algorithms, compared.params)
    print("\n\n".join(sections.values()))
    if args.out is not None:
        replace_sections(args.out, "A start from a small problem", sections)


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfer", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=ROOT / "artifacts")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    parser.add_argument("--space", type=Path, default=ROOT / "models" / "spaces" / "compact.yaml")
    parser.add_argument("--device", default="edge-cpu", help="whose budget and profile")
    parser.add_argument(
        "--algorithms", type=lambda t: t.split(","), default=["parsec", "fp_nas"],
        help="such as learn a distribution",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=lambda t: [int(s) for s in t.split(",")], default=list(range(8))
    )
    parser.add_argument("--starts", type=lambda t: t.split(","), default=list(STARTS))
    parser.add_argument("--start-weight", type=float, help="instead of the params'")
    parser.add_argument("--share", type=float, default=0.25, help="of the images")
    parser.add_argument("--epochs", type=float, default=4.0, help="of the small supernet")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="where runs are kept")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out", type=Path, help="Markdown file whose sections are replaced")
    args = parser.parse_args()
    known = sorted(name for name, kind in ALGORITHMS.items() if kind.reads_start)
    if not set(args.algorithms) <= set(known):
        parser.error(f"a start is read by {' and '.join(known)} alone")
    if "uniform" not in args.starts or not set(args.starts) <= set(STARTS):
        parser.error(f"starts are uniform and any of {', '.join(STARTS)}")
    return args


if __name__ == "__main__":
    main()
