"""How fast the BN indicator ranks: `python -m benchmarks.indicators`.

It scores and sorts a million random architectures of the preset `bn-nas` by tables, plain and per
layer; evaluates ONE as the stage `rank` does (its slice, batch norms recalibrated, accuracy); and
divides. Multiply-accumulates, parameters and peak memory of as many are timed beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.harness.flags import flags_of
from benchmarks.harness.markdown import table, write_sections
from benchmarks.harness.presets import TORCH, Preset, random_images
from benchmarks.harness.timing import interleaved
from core.process import prepare_machine
from data.stream import Batch, TrainStream, eval_batches
from models.nets.evaluate import accuracy, recalibrate
from models.nets.indicators import bn_indicator, bn_table
from models.nets.shared_cells import SlicedNorm
from models.nets.supernet import Supernet, extract
from models.space.costs import flops, parameters, peak_activation_bytes
from models.space.space import SearchSpace

PRESET = Preset("bn-nas", (3, 32, 32))
GOAL = 600_000
"""How many times faster than evaluating a network BN-NAS reports its indicator to be."""
RECALIBRATION_BATCHES = 4


@dataclass(frozen=True)
class Effort:
    """Architectures scored, validation images, rounds, images a batch."""

    count: int = 1_000_000
    images: int = 6000
    blocks: int = 3
    batch: int = 256


@dataclass(frozen=True)
class World:
    """A space, its supernet, and the images that one architecture is evaluated on."""

    space: SearchSpace
    supernet: Supernet
    calibration: list[torch.Tensor]
    held_out: list[Batch]


def main() -> None:
    parser = flags_of("indicators", __doc__, "indicators.md")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="check that it runs; writes nothing")
    flags = parser.parse_args()
    prepare_machine(flags.threads, 0)
    effort = Effort(2000, 64, 1, 16) if flags.quick else Effort()
    how = f"`python -m benchmarks.indicators`, {flags.threads} threads, {TORCH}."
    text = f"{how}\n\n{measure(world_of(effort), effort)}"
    out = None if flags.quick else flags.out
    write_sections(out, "How fast networks are ranked", {"By tables": text})


def world_of(effort: Effort) -> World:
    """The supernet with gammas that differ, and random images."""
    space = PRESET.load()
    stream = random_images(PRESET.image_shape, effort.images, batches=1)
    split, info = stream.split, stream.info
    learn = TrainStream(split, info, effort.batch, 0, augment=False)
    supernet = Supernet(space, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for module in supernet.modules():
        if isinstance(module, SlicedNorm):
            torch.nn.init.normal_(module.weight, generator=generator)
    calibration = [learn.at(step).images_NCHW for step in range(RECALIBRATION_BATCHES)]
    held_out = list(eval_batches(split, info, effort.batch))
    return World(space, supernet, calibration, held_out)


def draw(space: SearchSpace, count: int) -> npt.NDArray[np.uint8]:
    """Choices of uniformly random architectures, (N, G), contiguous per group."""
    rng, sizes = np.random.default_rng(0), [len(group.candidates) for group in space.groups]
    return np.array([rng.integers(size, size=count, dtype=np.uint8) for size in sizes]).T


def measure(world: World, effort: Effort) -> str:
    """Every measurement, as Markdown."""
    space, supernet = world.space, world.supernet
    choices_NG = draw(space, effort.count)
    bn = bn_table(supernet, space)
    macs, weights = flops.table(space), parameters.table(space)
    memory = peak_activation_bytes.table(space)
    one = space.architecture(choices_NG[0].tolist())

    def evaluate() -> float:
        subnet = extract(supernet, one)
        recalibrate(subnet, world.calibration)
        return accuracy(subnet.eval(), world.held_out)

    def rank(per_layer: bool) -> npt.NDArray[np.intp]:
        return np.argsort(-bn.scores(choices_NG, per_layer=per_layer))

    ranked = {
        "BN indicator: score and sort": lambda: rank(per_layer=False),
        "BN indicator per layer: score and sort": lambda: rank(per_layer=True),
        "reading the table from the supernet": lambda: bn_table(supernet, space),
        "drawing the architectures": lambda: draw(space, effort.count),
        "multiply-accumulates": lambda: macs(choices_NG),
        "parameters": lambda: weights(choices_NG),
        "peak activation memory": lambda: memory(choices_NG),
    }
    times = interleaved({**ranked, "evaluate": evaluate}, effort.blocks, 1)
    evaluated = times.pop("evaluate")
    alone = evaluated.seconds * effort.count
    rows = [
        (name, f"{time.seconds:.3f}", f"{alone / time.seconds:,.0f}" if "sort" in name else "-")
        for name, time in times.items()
    ]
    factor = alone / times["BN indicator: score and sort"].seconds
    assert bn_indicator(supernet, one) == bn.scores(choices_NG[:1])[0]
    return "\n\n".join(
        [
            f"{effort.count:,} random architectures of `{space.name}`; medians of {effort.blocks} "
            "interleaved rounds. Times faster: than evaluating one architecture, for each.",
            table(("what", "seconds", "times faster"), rows),
            f"Evaluating ONE architecture takes {evaluated.seconds:.2f} s: its slice, batch norms "
            f"recalibrated on {RECALIBRATION_BATCHES} batches of {effort.batch}, accuracy on "
            f"{effort.images} random images (3x32x32). So the indicator is **{factor:,.0f}** times "
            f"faster (BN-NAS: over {GOAL:,}, with ImageNet's 50,000 images on a graphics card).",
            "Every score equals that of the same architecture alone, to the last bit "
            "(`tests/models/space/test_block_tables.py`).",
        ]
    )


if __name__ == "__main__":
    main()
