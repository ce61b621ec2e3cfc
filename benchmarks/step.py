"""What a supernet's training step costs: `python -m benchmarks.step [--json OUT]`.

For some architectures of a space it prints
- the time of a supernet step over that of the same step on the plain subnet: what sharing costs;
- images per second of the supernet step;
- its share of the machine's matrix-product rate, measured in the same run (a step counts as
  three forward passes, 2 operations per multiply-accumulate);
- the share of a training loop's step that goes into making the batch.

Blocks of steps are interleaved and ratios are medians of block ratios, because a shared machine
drifts for seconds at a time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from data.dataset import Augment, DatasetInfo, Split
from data.stream import Batch, TrainStream
from models.architecture import Architecture
from models.costs import block_flops, flops
from models.space import SearchSpace
from models.supernet import Supernet, extract
from stages.common.runtime import prepare_machine

GOAL = 1.05
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Row:
    """The measurement of one architecture."""

    architecture: str
    flops: int
    supernet_ms: float
    ratio: float
    ratio_spread: float
    images_per_second: float
    matrix_share: float
    batch_share: float


def stream(size: int, batch: int) -> TrainStream:
    """Random images with the shape and augmentation of a prepared data set."""
    rng = np.random.default_rng(0)
    count = 20 * batch
    split = Split(
        rng.integers(0, 256, (count, size, size, 1), dtype=np.uint8), rng.integers(0, 10, count)
    )
    info = DatasetInfo(
        name="random",
        image_shape=(1, size, size),
        classes=tuple("0123456789"),
        mean=(0.5,),
        std=(0.29,),
        counts={},
        augment=Augment(flip=True, shift=2),
        fit="crop",
        source={},
        arrays={},
    )
    return TrainStream(split, info, batch, seed=0, augment=True)


def stepper(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> Callable[[Batch], None]:
    """One training step, as the training loop does it."""
    optimizer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9, nesterov=True)

    def step(batch: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(forward(batch.images_NCHW), batch.labels_N)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def seconds(call: Callable[[], object], calls: int) -> float:
    """Mean seconds of a call."""
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls


def matrix_rate(blocks: int, size: int = 1024) -> float:
    """Operations per second of a float32 matrix product: the median over blocks."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    seconds(lambda: a @ b, 3)
    return 2 * size**3 / statistics.median(seconds(lambda: a @ b, 5) for _ in range(blocks))


def measure(
    supernet: Supernet, architecture: Architecture, data: TrainStream, blocks: int, calls: int
) -> Row:
    """Measure one architecture, in the supernet and alone, in interleaved blocks."""
    subnet = extract(supernet, architecture).train()
    shared = stepper(supernet.train(), lambda x_NCHW: supernet(x_NCHW, architecture))
    plain = stepper(subnet, subnet)
    batch = data.at(0)
    for _ in range(2):
        shared(batch)
        plain(batch)
    shared_s, ratios, batch_s = [], [], []
    for block in range(blocks):
        # Which comes first alternates, so that a drift favours neither.
        order = (shared, plain) if block % 2 else (plain, shared)
        times = {step: seconds(lambda step=step: step(batch), calls) for step in order}  # type: ignore[misc]
        shared_s.append(times[shared])
        ratios.append(times[shared] / times[plain])
        batch_s.append(seconds(lambda block=block: data.at(block), calls))  # type: ignore[misc]
    step_s, make_s = statistics.median(shared_s), statistics.median(batch_s)
    operations = 3 * 2 * flops(architecture) * data.batch
    return Row(
        architecture=architecture.short(),
        flops=flops(architecture),
        supernet_ms=1000 * step_s,
        ratio=statistics.median(ratios),
        ratio_spread=max(ratios) - min(ratios),
        images_per_second=data.batch / step_s,
        matrix_share=operations / step_s / matrix_rate(blocks),
        batch_share=make_s / (make_s + step_s),
    )


def show(rows: list[Row], console: Console) -> None:
    table = Table("MMAC", "step ms", "over plain", "spread", "images/s", "of matmul", "batch")
    for row in rows:
        table.add_row(
            f"{row.flops / 1e6:.2f}",
            f"{row.supernet_ms:.0f}",
            f"{row.ratio:.3f}",
            f"{row.ratio_spread:.3f}",
            f"{row.images_per_second:.0f}",
            f"{row.matrix_share:.1%}",
            f"{row.batch_share:.1%}",
        )
    console.print(table)
    middle = statistics.median(row.ratio for row in rows)
    console.print(f"supernet step over plain step: {middle:.3f} (goal {GOAL})")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--space", type=Path, default=ROOT / "models" / "spaces" / "compact.yaml")
    parser.add_argument("--size", type=int, default=28, help="height and width in pixels")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--architectures", type=int, default=3, help="besides the extremes")
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--calls", type=int, default=3, help="steps per block")
    parser.add_argument("--json", type=Path, help="write the rows here")
    args = parser.parse_args()
    prepare_machine(args.threads, 0)
    space = SearchSpace.load(args.space, (1, args.size, args.size), 10)
    rng = np.random.default_rng(0)
    chosen = [space.extreme(block_flops), *(space.sample(rng) for _ in range(args.architectures))]
    chosen.append(space.extreme(block_flops, largest=True))
    supernet = Supernet(space, torch.Generator().manual_seed(0))
    data = stream(args.size, args.batch)
    rows = [measure(supernet, a, data, args.blocks, args.calls) for a in chosen]
    show(rows, Console())
    if args.json is not None:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
