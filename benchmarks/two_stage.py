"""Two-stage search against one stage: `python -m benchmarks.two_stage --work FOLDER`.

HURRICANE's claim is that a supernet needs less training (30.4% less than SPOS in the paper) when
the late layers are searched first and the early ones after them, because each of the two spaces is
exponentially smaller. Per seed, both in the same space of the device and within its budget:

- one stage: a supernet learns all paths for all steps; evolution over the whole space;
- two stages: a supernet learns paths whose early layers are a default, for `late` of the steps;
  evolution over the late layers; then it learns paths that end in the winner's late layers, for
  `early` of the steps; evolution over the early layers. As many evaluations in all.

Both answers are then trained from scratch in the same way. Steps are counted; nothing is timed.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.results import replace_sections, table
from benchmarks.search import ROOT, SCHEMA, Setting, accuracy_of, kept, spread_of
from models.architecture import Architecture
from models.costs import flops
from models.distribution import Choices
from models.subnet import Subnet
from models.supernet import Supernet
from models.training import Objective, Recipe, Run, train
from stages.common.budgets import read_latency_table
from stages.common.devices import pick_device
from stages.common.files import write_json
from stages.common.params import read_section
from stages.common.runtime import prepare_machine
from stages.search.algorithms.evolution import Population
from stages.search.algorithms.hurricane import Hurricane
from stages.search.loop import problem_of
from stages.search.params import SearchParams
from stages.search.stage import evaluation, kept_budgets
from stages.supernet.params import SupernetParams
from stages.supernet.strategies.base import PATHS, Task
from stages.supernet.strategies.spos import SinglePath

Allowed = Sequence[Sequence[int]]


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
    """One seed's two searches in one device's space.

    Args:
        setting: data, space and device.
        seed: of weights, paths and evolution.
        steps: of the one-stage supernet.
        evaluations: of either search, in all.
    """

    def __init__(self, setting: Setting, seed: int, steps: int, evaluations: int) -> None:
        self.setting, self.seed, self.steps, self.evaluations = setting, seed, steps, evaluations
        section = read_section(setting.params, "search", SearchParams)
        self.params = section.model_copy(update={"algorithm": "hurricane", "seed": seed})
        self.learning = read_section(setting.params, "supernet", SupernetParams)
        device = pick_device(setting.params, setting.device)
        latency = read_latency_table(setting.artifacts / "profile" / setting.device)
        margin = section.latency_margin
        asked = kept_budgets(setting.space, setting.device, device, latency, margin)
        batch = min(section.batch, len(setting.images.val))
        self.problem = problem_of(setting.space, asked.limits, batch)
        self.hurricane = Hurricane(self.problem, self.params)
        self.hurricane.propose(np.random.default_rng([seed, 0]))  # which settles on a default
        self.space = self.hurricane.device_space()

    def supernet(self) -> Supernet:
        """A fresh one."""
        return Supernet(self.setting.space, torch.Generator().manual_seed(self.seed))

    def learn(self, supernet: Supernet, allowed: Allowed, steps: int) -> None:
        """Train on the paths that are allowed."""
        images, params = self.setting.images, self.learning
        task = Task(
            supernet,
            self.setting.space,
            Objective(self.setting.space.classes),
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

    def evolve(self, supernet: Supernet, allowed: Allowed, evaluations: int) -> Choices:
        """The best of an evolution by recalibrated slices of the supernet."""
        population = Population(self.problem, self.params.evolution, allowed)
        judge = evaluation(self.hurricane, supernet, self.setting.images)
        rng, known = np.random.default_rng([self.seed, 1]), dict[Choices, float]()
        while len(known) < evaluations:
            born = population.brood(self.params.fixed_samples, rng, set(known))
            new = [choices for choices in born if choices not in known]
            if not new:
                break  # the space has no more
            nlls = judge(0, [self.setting.space.architecture(choices) for choices in new])
            for choices, nll in zip(new, nlls, strict=True):
                known[choices] = nll
                population.add(choices, nll)
        return min(known, key=lambda choices: (known[choices], choices))

    def one_stage(self) -> dict[str, Any]:
        """All layers at once."""
        supernet = self.supernet()
        self.learn(supernet, self.space, self.steps)
        return self._found(self.evolve(supernet, self.space, self.evaluations), self.steps)

    def two_stages(self, late_steps: float, early_steps: float) -> dict[str, Any]:
        """The late layers, then the early ones; steps as shares of the one-stage supernet's."""
        supernet, default = self.supernet(), self.hurricane.default
        assert default is not None
        late = round(late_steps * self.steps)
        self.learn(supernet, self.part(default, late=True), late)
        share = self.params.hurricane.late_steps
        first = round(share * self.evaluations)
        winner = self.evolve(supernet, self.part(default, late=True), first)
        early = round(early_steps * self.steps)
        self.learn(supernet, self.part(winner, late=False), early)
        best = self.evolve(supernet, self.part(winner, late=False), self.evaluations - first)
        return self._found(best, late + early)

    def part(self, fixed: Choices, late: bool) -> Allowed:
        """The space in which one part of the layers is free and the other is that of `fixed`."""
        cut = self.hurricane.first_late
        return [
            here if (group >= cut) == late else [fixed[group]]
            for group, here in enumerate(self.space)
        ]

    def _found(self, choices: Choices, steps: int) -> dict[str, Any]:
        network = self.setting.space.architecture(choices)
        return {
            "architecture": network.to_json(),
            "short": network.short(),
            "flops": flops(network),
            "steps": steps,
        }


def from_scratch(
    setting: Setting, architecture: Architecture, seed: int, epochs: float, work: Path
) -> dict[str, float]:
    """Test accuracy after a training that owes nothing to any supernet."""
    network = Subnet(architecture, torch.Generator().manual_seed(seed))
    return accuracy_of(setting, network, seed, epochs, work)


def main() -> None:
    args = _flags()
    prepare_machine(args.threads, 0)
    setting = Setting.open(args)
    args.work = setting.kept_in(args.work, args.late, args.early, args.evaluations)
    runs: dict[str, list[dict[str, Any]]] = {"one stage": [], "two stages": []}
    for seed in args.seeds:
        compared = Comparison(setting, seed, args.steps, args.evaluations)
        make: dict[str, Callable[[], dict[str, Any]]] = {
            "one stage": compared.one_stage,
            "two stages": partial(compared.two_stages, args.late, args.early),
        }
        for name, found in runs.items():
            run = kept(args.work / f"{name.replace(' ', '-')}-{seed}-{args.steps}.json", make[name])
            network = Architecture.from_json(run["architecture"])
            file = args.work / f"scratch-{network.id}-{seed}-{args.epochs:g}.json"
            run |= kept(file, partial(from_scratch, setting, network, seed, args.epochs, args.work))
            found.append(run)
            print(f"{name}, seed {seed}: {run['accuracy']:.4f} {run['short']}", flush=True)
    text = report(runs, args)
    print(text)
    if args.json is not None:
        write_json(args.json, SCHEMA, {"runs": runs})
    if args.out is not None:
        replace_sections(args.out, "Search on a real supernet", {"Two stages against one": text})


def report(runs: dict[str, list[dict[str, Any]]], args: argparse.Namespace) -> str:
    """The table and the paired difference."""
    rows = [
        [
            name,
            str(found[0]["steps"]),
            spread_of([run["flops"] / 1e6 for run in found], 2),
            spread_of([100 * run["accuracy"] for run in found], 2),
        ]
        for name, found in runs.items()
    ]
    pairs = zip(runs["two stages"], runs["one stage"], strict=True)
    differences = [100 * (two["accuracy"] - one["accuracy"]) for two, one in pairs]
    saved = 1 - runs["two stages"][0]["steps"] / runs["one stage"][0]["steps"]
    seeds = ", ".join(map(str, args.seeds))
    return (
        f"`python -m benchmarks.two_stage --device {args.device} --steps {args.steps} --epochs "
        f"{args.epochs:g}`, seeds {seeds}, {args.evaluations} evaluations a search; every answer "
        f"trained from scratch for {args.epochs:g} epochs.\n\n"
        f"{table(('search', 'supernet steps', 'million MACs', 'test accuracy %'), rows)}\n\n"
        f"Two stages trained their supernet {saved:.0%} less; their answers differ by "
        f"{spread_of(differences, 2)} points ({', '.join(f'{d:+.2f}' for d in differences)}; the "
        f"standard deviation of single differences is {_deviation(differences)})."
    )


def _deviation(values: Sequence[float]) -> str:
    return f"{statistics.stdev(values):.2f}" if len(values) > 1 else "unknown from one seed"


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_stage", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=ROOT / "artifacts")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    parser.add_argument("--space", type=Path, default=ROOT / "models" / "spaces" / "compact.yaml")
    parser.add_argument("--device", default="edge-cpu", help="whose budget and profile")
    parser.add_argument("--seeds", type=lambda t: [int(s) for s in t.split(",")], default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=800, help="of the one-stage supernet")
    parser.add_argument("--late", type=float, default=0.4, help="their share in stage one")
    parser.add_argument("--early", type=float, default=0.296, help="their share in stage two")
    parser.add_argument("--evaluations", type=int, default=120, help="of each search, in all")
    parser.add_argument("--epochs", type=float, default=1.0, help="of the final training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="where runs are kept")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out", type=Path, help="Markdown file whose section is replaced")
    return parser.parse_args()


if __name__ == "__main__":
    main()
