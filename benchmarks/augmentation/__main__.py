"""How much of a training step waits for augmented images?

`python -m benchmarks.augmentation --data FOLDER` alternates batches of a prepared data set with
training steps of torchvision's MobileNetV2 in one process, and reports the share of the time that
goes into the batch, per word of `data.augment`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torchvision.models import mobilenet_v2

from benchmarks.harness.flags import ARTIFACTS, flags_of
from benchmarks.harness.markdown import table, write_sections
from core.process import prepare_machine
from data.dataset import POLICIES, Augment, DatasetInfo, Policy, Split, read_split
from data.stream import Batch, TrainStream

STEPS, WARM_UP = 20, 3


def make_step(classes: int, channels: int) -> Callable[[Batch], None]:
    """One training step of MobileNetV2 with SGD, in channels_last memory."""
    network = mobilenet_v2(num_classes=classes)
    first = network.features[0][0]
    if channels != first.in_channels:
        network.features[0][0] = nn.Conv2d(channels, first.out_channels, 3, 2, 1, bias=False)
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        logits_NK = network(batch.images_NCHW)
        loss = nn.functional.cross_entropy(logits_NK, batch.labels_N)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def measure(split: Split, info: DatasetInfo, batch: int, steps: int) -> dict[str, list[float]]:
    """Seconds of a batch and share of it in batch and step, medians over steps, by word."""
    train = make_step(len(info.classes), info.image_shape[0])
    words: dict[str, Policy | None] = {"none": None}
    words.update((str(word), policy) for word, policy in POLICIES.items())
    streams = {
        word: TrainStream(
            split,
            info.model_copy(update={"augment": Augment(flip=True, shift=0, policy=policy)}),
            batch,
            seed=0,
            augment=True,
        )
        for word, policy in words.items()
    }
    waits: dict[str, list[float]] = {word: [] for word in streams}
    shares: dict[str, list[float]] = {word: [] for word in streams}
    for number in range(WARM_UP + steps):
        for word, stream in streams.items():
            began = time.perf_counter()
            images = stream.at(number)
            ready = time.perf_counter()
            train(images)
            ended = time.perf_counter()
            if number >= WARM_UP:
                waits[word].append(ready - began)
                shares[word].append((ready - began) / (ended - began))
    return {w: [statistics.median(waits[w]), statistics.median(shares[w])] for w in streams}


def main() -> None:
    """Measure, and write the page."""
    parser = flags_of("augmentation", __doc__, "augmentation.md")
    parser.add_argument("--data", type=Path, default=ARTIFACTS / "data", help="of stage prepare")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=1)
    flags = parser.parse_args()
    prepare_machine(flags.threads, 0)
    info, split = DatasetInfo.read(flags.data), read_split(flags.data, "train")
    found = measure(split, info, flags.batch, flags.steps)
    rows = [
        [w, f"{1e3 * wait / flags.batch:.2f}", f"{share:.1%}"] for w, (wait, share) in found.items()
    ]
    _, height, width = info.image_shape
    text = (
        f"`python -m benchmarks.augmentation`: batches of {flags.batch} images of {height} x "
        f"{width} pixels, {flags.threads} thread, no worker processes; medians of {flags.steps} "
        "steps of MobileNetV2, words interleaved. All words flip images.\n\n"
        + table(["`data.augment`", "ms per image", "share of a step"], rows)
    )
    write_sections(flags.out, "What augmentation costs", {"Share of a training step": text})


if __name__ == "__main__":
    main()
