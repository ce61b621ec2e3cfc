"""Two-stage search against one stage: `python -m benchmarks.two_stage --work FOLDER`.

HURRICANE's claim is that a supernet needs less training (30.4% less than SPOS in the paper) when
the late layers are searched first and the early ones after them, because each of the two spaces is
exponentially smaller. Per seed, all in the same space of the device and within its budget:

- one stage: a supernet learns all paths for all steps; evolution over the whole space;
- one stage, short: the same with only as many steps as the two stages have together, which shows
  what the shorter training costs by itself;
- two stages: a supernet learns paths whose early layers are a default, for `late` of the steps;
  evolution over the late layers; then it learns paths that end in the winner's late layers, for
  `early` of the steps; evolution over the early layers. As many evaluations in all;
- random: no supernet at all, some uniformly random architectures of that space and budget.

All answers are then trained from scratch in the same way. Both one-stage supernets also evaluate
all the random architectures, which no search chose. Steps are counted; nothing is timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness.flags import add_release, flags_of, integers
from benchmarks.harness.markdown import write_sections
from benchmarks.harness.release import Release
from benchmarks.harness.runs import SCHEMA, Row, Runs
from benchmarks.two_stage.report import ONE, RANDOM, SHORT, TWO, report
from core.files import write_json
from core.process import prepare_machine
from models.nets.subnet import Subnet
from models.nets.supernet import Supernet
from models.search.algorithms.evolution import Population
from models.search.algorithms.hurricane import Hurricane
from models.search.evaluation import Evaluate, evaluation
from models.space.architecture import Architecture
from models.space.costs import depth, flops, parameters
from models.space.distribution import Choices
from models.space.limits import InfeasibleBudgetError
from models.training.loop import Objective, Recipe, Run, train
from models.training.settings import TrainParams
from models.training.strategies.base import PATHS, Task
from models.training.strategies.spos import SinglePath
from models.training.supernet.settings import SupernetParams

Allowed = Sequence[Sequence[int]]
_DRAWN = 10
"""Separates the generators of random networks from those of a seed's paths and evolution."""
_TRIES = 10_000


class Restricted(SinglePath):
    """Uniform single paths among the candidates that are allowed."""

    def __init__(self, task: Task, allowed: Allowed) -> None:
        super().__init__(task)
        self.allowed = allowed

    def paths(self, step: int) -> tuple[Architecture, ...]:
        """One random architecture of the restricted space."""
        rng = np.random.default_rng([self.task.seed, PATHS, step])
        return (self.space.architecture([int(rng.choice(here)) for here in self.allowed]),)


class Comparison:
    """One seed's searches in one device's space.

    Args:
        release: data, space and device.
        seed: of weights, paths and evolution.
        evaluations: of every search, in all.
    """

    def __init__(self, release: Release, seed: int, evaluations: int) -> None:
        self.release, self.seed, self.evaluations = release, seed, evaluations
        self.params = release.search_settings("hurricane", seed)
        self.problem = release.problem
        self.hurricane = Hurricane(self.problem, self.params)
        self.hurricane.propose(np.random.default_rng([seed, 0]))  # which settles on a default
        self.space = self.hurricane.device_space()

    def supernet(self) -> Supernet:
        """A fresh one."""
        return Supernet(self.release.space, torch.Generator().manual_seed(self.seed))

    def learn(self, supernet: Supernet, allowed: Allowed, steps: int) -> None:
        """Train on the paths that are allowed."""
        images = self.release.images
        params = self.release.settings("supernet", SupernetParams)
        task = Task(
            supernet,
            self.release.space,
            Objective(self.release.space.classes),
            self.seed,
            len(images.train),
        )
        strategy = Restricted(task, allowed)
        recipe = Recipe(steps, params.learning_rate, params.momentum, params.weight_decay)
        supernet.to(memory_format=torch.channels_last)
        train(
            Run(supernet, recipe, strategy.trainable(), strategy),
            images.stream(params).at,
            strategy.learn,
        )

    def evolve(self, judge: Evaluate, allowed: Allowed, evaluations: int) -> Choices:
        """The best of an evolution by a judge."""
        population = Population(self.problem, self.params.evolution, allowed)
        rng, known = np.random.default_rng([self.seed, 1]), dict[Choices, float]()
        while len(known) < evaluations:
            born = population.breed(self.params.fixed_samples, rng, set(known))
            new = [choices for choices in born if choices not in known]
            if not new:
                break  # the space has no more
            judged = judge(0, [self.release.space.architecture(choices) for choices in new])
            for choices, found in zip(new, judged, strict=True):
                known[choices] = found.nll
                population.add(choices, found.nll)
        return min(known, key=lambda choices: (known[choices], choices))

    def judge(self, supernet: Supernet) -> Evaluate:
        """By recalibrated slices of the supernet."""
        return evaluation(self.hurricane, supernet, self.release.images)

    def one_stage(self, steps: int, strangers: Sequence[Architecture]) -> dict[str, Any]:
        """All layers at once; and the NLL of architectures that the search did not choose."""
        supernet = self.supernet()
        self.learn(supernet, self.space, steps)
        judge = self.judge(supernet)
        found = self._found(self.evolve(judge, self.space, self.evaluations), steps)
        judged = judge(0, strangers)
        nlls = {a.id: one.nll for a, one in zip(strangers, judged, strict=True)}
        return found | {"judged": nlls}

    def two_stages(self, late: int, early: int) -> dict[str, Any]:
        """The late layers, then the early ones, each after so many steps of the supernet."""
        supernet, default = self.supernet(), self.hurricane.default
        assert default is not None
        self.learn(supernet, self.part(default, late=True), late)
        share = self.params.hurricane.late_steps
        first = round(share * self.evaluations)
        winner = self.evolve(self.judge(supernet), self.part(default, late=True), first)
        self.learn(supernet, self.part(winner, late=False), early)
        rest = self.evaluations - first
        best = self.evolve(self.judge(supernet), self.part(winner, late=False), rest)
        return self._found(best, late + early)

    def random(self, draw: int) -> dict[str, Any]:
        """A uniformly random architecture of the device's space within the budget.

        Raises:
            InfeasibleBudgetError: thousands were drawn, and none was within it.
        """
        rng = np.random.default_rng([self.seed, _DRAWN, draw])
        for _ in range(_TRIES):
            choices = tuple(int(rng.choice(here)) for here in self.space)
            if self.problem.excess(choices) <= 0:
                return self._found(choices, 0)
        raise InfeasibleBudgetError(
            f"none of {_TRIES} random architectures is within the budget of "
            f"'{self.release.device}', so there is nothing to compare with: raise the budget."
        )

    def part(self, fixed: Choices, late: bool) -> Allowed:
        """The space in which one part of the layers is free and the other is that of `fixed`."""
        cut = self.hurricane.first_late
        return [
            here if (group >= cut) == late else [fixed[group]]
            for group, here in enumerate(self.space)
        ]

    def _found(self, choices: Choices, steps: int) -> dict[str, Any]:
        network = self.release.space.architecture(choices)
        return {
            "architecture": network.to_json(),
            "architecture_id": network.id,
            "short": network.short(),
            "flops": flops(network),
            "parameters": parameters(network),
            "steps": steps,
        }


def from_scratch(release: Release, run: Row, seed: int, epochs: float, work: Path) -> Row:
    """Test accuracy after a training that no supernet takes part in."""
    network = Subnet(
        Architecture.from_json(run["architecture"]), torch.Generator().manual_seed(seed)
    )
    params = release.settings("train", TrainParams, epochs=epochs, seed=seed)
    return release.train(network, params, release.artifacts / "teacher", work)


def searched(release: Release, runs: Runs, args: argparse.Namespace) -> list[Row]:
    """Every arm's architectures of every seed."""
    compared = [Comparison(release, seed, args.evaluations) for seed in args.seeds]
    late, early = round(args.late * args.steps), round(args.early * args.steps)
    drawn = {
        one.seed: [
            runs.get(f"{RANDOM} {draw}-seed{one.seed}", partial(one.random, draw))
            for draw in range(args.draws)
        ]
        for one in compared
    }
    strangers = [Architecture.from_json(r["architecture"]) for some in drawn.values() for r in some]
    found: list[Row] = []
    for one in compared:
        make: dict[str, Callable[[], Row]] = {
            ONE: partial(one.one_stage, args.steps, strangers),
            SHORT: partial(one.one_stage, late + early, strangers),
            TWO: partial(one.two_stages, late, early),
        }
        rows = [(arm, runs.get(f"{arm}-seed{one.seed}", search)) for arm, search in make.items()]
        rows += [(RANDOM, run) for run in drawn[one.seed]]
        found += [run | {"arm": arm, "seed": one.seed} for arm, run in rows]
    return found


def main() -> None:
    args = _flags()
    prepare_machine(args.threads, 0)
    release = Release.open(args)
    counted = (args.steps, args.late, args.early, args.evaluations, args.draws, args.seeds)
    runs = Runs(args.work, *release.inputs("teacher/train_logits.npy"), *counted)
    rows: list[Row] = []
    for run in searched(release, runs, args):
        name = f"scratch {run['architecture_id']} {args.epochs:g}-seed{run['seed']}"
        learn = partial(from_scratch, release, run, run["seed"], args.epochs, runs.folder)
        layers = depth(Architecture.from_json(run["architecture"]))
        rows.append(run | runs.get(name, learn) | {"layers": layers})
    if args.json is not None:
        write_json(args.json, SCHEMA, {"runs": rows})
    section = {"Two stages against one": report(rows, args)}
    write_sections(args.out, "Search on a real supernet", section)


def _flags() -> argparse.Namespace:
    parser = flags_of("two_stage", __doc__, "search.md")
    add_release(parser, "edge-cpu")
    parser.add_argument("--seeds", type=integers, default=[0, 1, 2])
    parser.add_argument("--draws", type=int, default=3, help="random architectures a seed")
    parser.add_argument("--steps", type=int, default=800, help="of the one-stage supernet")
    parser.add_argument("--late", type=float, default=0.4, help="their share in stage one")
    parser.add_argument("--early", type=float, default=0.296, help="their share in stage two")
    parser.add_argument("--evaluations", type=int, default=120, help="of each search, in all")
    parser.add_argument("--epochs", type=float, default=1.0, help="of the final training")
    parser.add_argument("--json", type=Path, help="write all runs here")
    args = parser.parse_args()
    if args.draws < 1:
        parser.error("--draws: one random network or more")
    return args


if __name__ == "__main__":
    main()
