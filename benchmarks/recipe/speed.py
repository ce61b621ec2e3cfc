"""Time per image of training steps, by batch size and by size of the images: ratios only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.harness.markdown import table
from benchmarks.harness.timing import Call, interleaved
from data.stream import resize
from models.nets.subnet import Subnet
from models.space.architecture import Architecture
from models.space.costs import flops
from models.training.learning import Images, NetworkParams
from models.training.loop import Recipe, Run
from models.training.objective import Objective, supervised_step

BASE = 64
BATCHES = (32, BASE, 128, 256)
IMAGES = 256
"""Images of a call: as many of every batch size."""
BLOCKS = 9


def stepper(images: Images, architecture: Architecture, batch: int) -> Callable[[], None]:
    """Steps of one training on `IMAGES` images, with their augmentation."""
    stream = images.stream(NetworkParams(batch=batch))
    network = Subnet(architecture, torch.Generator().manual_seed(0))
    run = Run(network.to(memory_format=torch.channels_last).train(), endless(batch))
    learn = supervised_step(network, Objective(architecture.classes))

    def steps() -> None:
        for _ in range(IMAGES // batch):
            run.advance(stream.at, learn)

    return steps


def endless(batch: int) -> Recipe:
    """A recipe whose end is never reached."""
    recipe = NetworkParams(batch=batch, learning_rate=0.01).recipe(1)
    return dataclasses.replace(recipe, steps=10**6, window=10**6)


def measure(images: Images, architecture: Architecture) -> str:
    """Markdown of the ratios."""
    calls: dict[str, Call] = {f"{batch}": stepper(images, architecture, batch) for batch in BATCHES}
    drawn = images.stream(NetworkParams(batch=IMAGES)).at(0).images_NCHW
    calls["resize"] = partial(resize, drawn, drawn.shape[-1] // 2)
    times = interleaved(calls, BLOCKS, 1)
    rows = []
    for name in calls:
        ratio, spread = times[name].over(times[f"{BASE}"])
        what = "halving the images alone" if name == "resize" else f"steps of {name} images"
        rows.append((what, f"{ratio:.3f}", f"{spread:.3f}"))
    text = (
        f"One network of {flops(architecture) / 1e6:.1f} MMAC, {IMAGES} images a call, "
        f"{BLOCKS} interleaved blocks on a busy machine; time over that of steps of {BASE} images, "
        "median and spread of the blocks' ratios."
    )
    return f"{text}\n\n{table(('work', 'time', 'spread'), rows)}"
