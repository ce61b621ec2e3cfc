"""What a supernet's training costs: `python -m benchmarks.supernet [SECTION]...`.

- overhead: a step of the supernet over the same step of the plain subnet, per preset;
- bn_only: a step that trains batch norms alone over a full step;
- growth: time and memory of a step as a space grows from 10 to 1,000 candidates a layer.

Blocks of steps are interleaved and ratios are medians of block ratios.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.harness.flags import flags_of, require_known
from benchmarks.harness.markdown import table, verdict, write_sections
from benchmarks.harness.presets import CLASSES, COMPACT, TORCH, Preset, random_images
from benchmarks.harness.timing import interleaved
from core.process import prepare_machine
from data.stream import Batch, TrainStream
from models.nets.memory import peak_bytes
from models.nets.supernet import Supernet, extract
from models.space.architecture import Architecture
from models.space.costs import block_flops, flops
from models.space.operators import OPERATORS
from models.space.space import SearchSpace
from models.space.spec import SpaceSpec
from models.training.loop import Recipe, Run
from models.training.objective import Objective
from models.training.optimizer import PathOptimizer
from models.training.strategies import Task, build_strategy
from models.training.supernet.settings import SupernetParams

PRESETS = (COMPACT, Preset("macro", (3, 32, 32)), Preset("fbnet", (3, 224, 224)))
OVERHEAD_GOAL = 1.02
BN_ONLY_GOAL = 0.5


@dataclass(frozen=True)
class Effort:
    """Rounds, steps a block, images a step (of 224 pixels: `large_batch`), random architectures."""

    blocks: int = 9
    calls: int = 3
    batch: int = 64
    large_batch: int = 8
    architectures: int = 3


def trainer_stepper(name: str, stream: TrainStream) -> Callable[[], None]:
    """The next step of the trainer with a strategy, with batches made before."""
    space = COMPACT.load()
    supernet = Supernet(space, torch.Generator().manual_seed(0)).train()
    task = Task(supernet, space, Objective(CLASSES), 0, len(stream.split))
    strategy = build_strategy(task, SupernetParams.model_validate({"strategy": name}).strategy)
    recipe = Recipe(1_000_000, 0.01, window=1_000_000)
    run = Run(supernet, recipe, strategy.trainable(), strategy)
    batches = [stream.at(step, strategy.views) for step in range(2)]
    return lambda: run.advance(lambda step: batches[step % 2], strategy.learn)


def step_of(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> Callable[[Batch], None]:
    """One training step with the trainer's optimiser, which only works on what was touched."""
    optimizer = PathOptimizer(list(module.parameters()), momentum=0.9, weight_decay=0.0)

    def step(batch: Batch) -> None:
        loss = functional.cross_entropy(forward(batch.images_NCHW), batch.labels_N)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(0.01)
        optimizer.zero_grad()

    return step


def pair(
    supernet: Supernet, architecture: Architecture, batch: Batch
) -> tuple[Callable[[], None], Callable[[], None]]:
    """A step of one architecture in the supernet, and of its plain network."""
    subnet = extract(supernet, architecture).train()
    shared = step_of(supernet.train(), lambda x_NCHW: supernet(x_NCHW, architecture))
    plain = step_of(subnet, subnet)
    return (lambda: shared(batch)), (lambda: plain(batch))


def overhead(effort: Effort) -> str:
    """A supernet's step over that of the same plain network, per preset."""
    rows, lines = [], []
    for preset in PRESETS:
        space, rng = preset.load(), np.random.default_rng(0)
        chosen = [space.extreme(block_flops), space.extreme(block_flops, largest=True)]
        chosen += [space.sample(rng) for _ in range(effort.architectures)]
        supernet = Supernet(space, torch.Generator().manual_seed(0))
        size = effort.large_batch if preset.image_shape[1] > 32 else effort.batch
        batch = random_images(preset.image_shape, size, batches=1).at(0)
        ratios = []
        for architecture in sorted(chosen, key=flops):
            shared, plain = pair(supernet, architecture, batch)
            times = interleaved({"shared": shared, "plain": plain}, effort.blocks, effort.calls)
            ratio, spread = times["shared"].over(times["plain"])
            ratios.append(ratio)
            first = f"`{preset.name}`, {preset.image_shape[1]} px, {len(batch.labels_N)}"
            numbers = (flops(architecture) / 1e6, 1000 * times["shared"].seconds, ratio, spread)
            rows.append((first, *(f"{number:.3f}" for number in numbers)))
        middle = statistics.median(ratios)
        lines.append(verdict(f"`{preset.name}`, median", middle, OVERHEAD_GOAL))
    head = ("space, images, batch", "MMAC", "step ms", "over plain", "spread")
    return "\n\n".join([*lines, table(head, rows)])


def bn_only(effort: Effort) -> str:
    """A step of `bn_only` over the step of `spos` on the same paths."""
    stream = random_images(COMPACT.image_shape, effort.batch)
    names = ("spos", "bn_only")
    steps = {name: trainer_stepper(name, stream) for name in names}
    # Both walk through the same random paths, so a block must hold as many steps of either.
    times = interleaved(steps, effort.blocks, 4 * effort.calls)
    ratio, spread = times["bn_only"].over(times["spos"])
    rows = [(f"`{name}`", f"{1000 * times[name].seconds:.1f}") for name in names]
    text = verdict(f"Batch norms alone over a full step (spread {spread:.3f})", ratio, BN_ONLY_GOAL)
    return f"{text}\n\n{table(('strategy', 'step ms'), rows)}"


def growth(effort: Effort) -> str:
    """Time and memory of the same network's step in growing spaces, and of the trainer's step."""
    wanted = (10, 100, 1000)
    spaces = [grown_space(count) for count in wanted]
    batch = random_images(COMPACT.image_shape, effort.batch, batches=1).at(0)
    architecture = spaces[0].extreme(block_flops, largest=True)
    steps, peaks = {}, []
    for number, space in enumerate(spaces):
        supernet = Supernet(space, torch.Generator().manual_seed(0))
        shared, _ = pair(supernet, architecture, batch)
        steps[f"{number}"] = shared
        peaks.append(peak_bytes(shared))
    times = interleaved(steps, effort.blocks, effort.calls)
    rows = []
    for number, space in enumerate(spaces):
        ratio, spread = times[f"{number}"].over(times["0"])
        blocks = max(len(blocks) for blocks in space.possible()[2:-1])
        time = (f"{1000 * times[f'{number}'].seconds:.1f}", f"{ratio:.3f}", f"{spread:.3f}")
        peak = (f"{peaks[number] / 1e6:.2f}", f"{peaks[number] / peaks[0]:.4f}")
        rows.append((f"{blocks}", f"{space.count():.3g}", *time, *peak))
    head = ("blocks a layer", "networks", "step ms", "ratio", "spread", "peak MB", "ratio")
    note = "One network that all spaces hold; its step with optimiser, weights not counted."
    return f"{note}\n\n{table(head, rows)}"


def grown_space(count: int) -> SearchSpace:
    """A space with about `count` different blocks in each of its layers.

    Settings of one operator come first, from the largest down, then widths; so all these spaces
    have the same largest network.
    """
    # Of the settings those that change how much is computed: others would make equals.
    settings = {name: OPERATORS["mbconv"].settings[name] for name in ("kernel", "expansion")}
    taken = {name: [options[-1]] for name, options in settings.items()}
    while True:
        name = min(taken, key=lambda name: len(taken[name]) / len(settings[name]))
        more = len(taken[name]) + 1
        candidates = int(np.prod([len(options) for options in taken.values()]))
        if more > len(settings[name]) or 2 * candidates // (more - 1) * more > count:
            break
        taken[name] = list(settings[name][-more:])
    widths = list(range(64, 64 - max(1, count // candidates), -1))
    size = {"layers": 3, "stride": 2, "channels": widths, "skip": False}
    spec = {
        "name": f"grown-{count}",
        "sizes": (8, 64),
        "stem": {"operator": "conv", "channels": 16, "stride": 2, "settings": {"kernel": 3}},
        "stages": [size | {"operators": {"mbconv": taken}}],
        "head": {"operator": "classifier", "settings": {"width": 128}},
    }
    return SearchSpace(SpaceSpec.model_validate(spec), COMPACT.image_shape, CLASSES)


SECTIONS: Mapping[str, tuple[str, Callable[[Effort], str]]] = {
    "overhead": ("A supernet's step over the plain network's", overhead),
    "bn_only": ("A step that trains batch norms alone", bn_only),
    "growth": ("Cost against the size of the space", growth),
}
QUICK = Effort(blocks=2, calls=1, batch=16, large_batch=2, architectures=1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = flags_of("supernet", __doc__, "supernet.md")
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; none for all")
    parser.add_argument("--quick", action="store_true", help="check that it runs; writes nothing")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(arguments)
    require_known(parser, args.sections, SECTIONS)
    prepare_machine(args.threads, 0)
    effort = QUICK if args.quick else Effort()
    machine = f"{args.threads} threads, {TORCH}"
    found: dict[str, str] = {}
    for name in args.sections or SECTIONS:
        heading, measure = SECTIONS[name]
        found[heading] = f"`python -m benchmarks.supernet {name}`, {machine}.\n\n{measure(effort)}"
    write_sections(None if args.quick else args.out, "What a supernet's training costs", found)


if __name__ == "__main__":
    main()
