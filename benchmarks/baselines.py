"""A searched network against torchvision's: `python -m benchmarks.baselines --work FOLDER`.

MobileNetV2 and MobileNetV3-small are scaled in width until they are as fast as the searched
network in the same runtime, MEASURED with the pipeline's own protocol: in interleaved blocks, so
that only ratios count. Then all are trained alike: from scratch, the same recipe, the same epochs,
no teacher, three seeds. Both come as torchvision has them, and with a stem of stride 1, because
they were made for larger images and leave 28 pixels at one by one. Dropout is off everywhere. The
recipe is that of `params.yaml`, which was chosen on networks of the space, not on these.

Results go to docs/results/baselines.md. Nothing here times a training: it may run on a busy
machine, but the measuring of widths (its first minutes) should have the machine to itself.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.arms import (
    DIFFERENCE_HEAD,
    Ledger,
    arm_row,
    difference_row,
    paired,
)
from benchmarks.results import replace_sections, table
from devices.measure import Protocol, measure
from models.architecture import Architecture
from models.onnx_export import to_onnx
from models.subnet import Subnet
from models.training import Objective
from stages.common.checkpoint import Checkpoint
from stages.common.files import fingerprint, read_json, write_bytes
from stages.common.learning import Images
from stages.common.params import read_section
from stages.common.runtime import prepare_machine
from stages.common.schemas import RANKED
from stages.train.params import TrainParams
from stages.train.stage import train_network

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = "onnxruntime"
SEARCHED = "searched"
WIDTHS = [step / 100 for step in range(5, 205, 5)]
SLACK = 1.03
"""A baseline may be this much slower: widths come in steps, and the doubt is theirs."""


@dataclass(frozen=True)
class Baseline:
    """One of torchvision's networks, and how its stem meets small images."""

    name: str
    stem_stride: int

    @property
    def title(self) -> str:
        """For the tables."""
        return f"{self.name}, stem of stride {self.stem_stride}"

    def build(self, width: float, images: Images, seed: int) -> nn.Module:
        """The network at a width, with torchvision's own initial weights."""
        from torchvision.models import get_model

        channels, classes = images.info.image_shape[0], len(images.info.classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network: Any = get_model(
                self.name, weights=None, num_classes=classes, width_mult=width, dropout=0.0
            )
            stem = network.features[0][0]
            network.features[0][0] = nn.Conv2d(
                channels, stem.out_channels, 3, self.stem_stride, padding=1, bias=False
            )
            nn.init.kaiming_normal_(network.features[0][0].weight, mode="fan_out")
        return network  # type: ignore[no-any-return]


BASELINES = tuple(
    Baseline(name, stride) for name in ("mobilenet_v2", "mobilenet_v3_small") for stride in (2, 1)
)


@dataclass(frozen=True)
class World:
    """What all networks share."""

    images: Images
    architecture: Architecture
    params: TrainParams
    protocol: Protocol
    work: Path
    ledger: Ledger


def ratio_to_searched(world: World, network: nn.Module) -> float:
    """How many times the searched network's latency a network takes, measured side by side."""
    shape = world.images.info.image_shape
    reference, model = world.work / "searched.onnx", world.work / "baseline.onnx"
    searched = Subnet(world.architecture, torch.Generator().manual_seed(0))
    write_bytes(reference, to_onnx(searched, shape))
    write_bytes(model, to_onnx(network, shape))
    found = measure(RUNTIME, {"baseline": model}, reference, 1, world.protocol)
    return found["baseline"].ratio


def widest(ratio_of: Callable[[float], float], widths: Sequence[float]) -> tuple[float, float]:
    """The largest width that is fast enough, by bisection, and its ratio.

    Args:
        ratio_of: latency over the searched network's; it rises with the width.
        widths: rising; the first is taken where none is fast enough.
    """
    low, high = 0, len(widths)  # widths[low] is fast enough or the first; widths[high] is not
    while high - low > 1:
        middle = (low + high) // 2
        if ratio_of(widths[middle]) <= SLACK:
            low = middle
        else:
            high = middle
    return widths[low], ratio_of(widths[low])


def matched(world: World, baseline: Baseline) -> tuple[float, float]:
    """The width at which a baseline is as fast as the searched network, and its ratio."""

    def ratio_of(width: float) -> float:
        key = fingerprint("ratio", baseline.title, width, world.architecture.id)

        def find() -> dict[str, float]:
            return {"ratio": ratio_to_searched(world, baseline.build(width, world.images, 0))}

        found = world.ledger.get(key, find)["ratio"]
        print(f"{baseline.title}, width {width:g}: {found:.3f} of the latency", flush=True)
        return found

    return widest(ratio_of, WIDTHS)


def train_one(world: World, title: str, network: nn.Module, seed: int) -> dict[str, float]:
    """Train a network from the weights it has; its test accuracy, and the seconds."""
    params = world.params.model_copy(update={"seed": seed})
    inputs = fingerprint(title, params.model_dump(exclude={"checkpoint_every"}))
    checkpoint = Checkpoint(world.work / fingerprint(title, seed)[:16], inputs)
    objective = Objective(len(world.images.info.classes), params.label_smoothing)
    began = time.perf_counter()
    train_network(network, world.images, objective, params, checkpoint)
    seconds = time.perf_counter() - began
    checkpoint.clear()
    return {"accuracy": world.images.accuracy(network, "test"), "seconds": seconds}


def accuracies(
    world: World, networks: Mapping[str, Callable[[int], nn.Module]], seeds: int
) -> dict[str, list[float]]:
    """Every network's accuracy per seed; all networks of a seed first."""
    found: dict[str, list[float]] = {title: [] for title in networks}
    for seed in range(seeds):
        for title, build in networks.items():
            key = fingerprint("accuracy", title, world.params.model_dump(), seed)
            work = partial(train_one, world, title, build(seed), seed)
            row = world.ledger.get(key, work)
            print(f"{title}, seed {seed}: {row}", flush=True)
            found[title].append(row["accuracy"])
    return found


def compare(world: World, seeds: int) -> str:
    """Widths, accuracies and differences, as Markdown."""
    widths = {baseline: matched(world, baseline) for baseline in BASELINES}
    networks: dict[str, Callable[[int], nn.Module]] = {
        SEARCHED: lambda seed: Subnet(world.architecture, torch.Generator().manual_seed(seed))
    }
    for baseline, (width, _) in widths.items():
        networks[baseline.title] = partial(baseline.build, width, world.images)
    sizes = [["searched", "", "1.000", parameters(networks[SEARCHED](0))]]
    for baseline, (width, ratio) in widths.items():
        size = parameters(networks[baseline.title](0))
        sizes.append([baseline.title, f"{width:g}", f"{ratio:.3f}", size])
    found = accuracies(world, networks, seeds)
    head = ("network", *(f"seed {seed}" for seed in range(seeds)), "mean", "std")
    rows = [arm_row(title, values) for title, values in found.items()]
    differences = [
        difference_row(f"searched over {title}", paired(found[SEARCHED], values))
        for title, values in found.items()
        if title != SEARCHED
    ]
    return "\n\n".join(
        [
            describe(world),
            table(("network", "width", "latency, of the searched", "parameters"), sizes),
            table(head, rows),
            table(DIFFERENCE_HEAD, differences),
        ]
    )


def parameters(network: nn.Module) -> str:
    """How many numbers it learns."""
    return f"{sum(p.numel() for p in network.parameters()):,}"


def describe(world: World) -> str:
    """Data, recipe and protocol."""
    params, images, protocol = world.params, world.images, world.protocol
    return (
        f"{images.info.name}, {len(images.train):,} training images; {params.epochs:g} epochs of "
        f"batches of {params.batch} for every network, from scratch, without a teacher, learning "
        f"rate {params.learning_rate:g}, the rest of the recipe as in `params.yaml`; accuracy on "
        f"the {len(images.test):,} test images (the search chose by validation images). Latency in "
        f"{RUNTIME}, one thread, {protocol.blocks} interleaved blocks of {protocol.calls} calls or "
        f"more; a width is the largest in steps of 0.05 within {SLACK:g} times the searched "
        "network's latency. The searched network is the one that `rank` chose; its supernet's and "
        "search's time are not counted."
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baselines", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=ROOT / "artifacts")
    parser.add_argument("--device", default="desktop-cpu", help="whose chosen network competes")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    parser.add_argument("--epochs", type=float, help="instead of those of the params")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is half done")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "baselines.md")
    args = parser.parse_args()
    params = read_section(args.params, "train", TrainParams)
    if args.epochs is not None:
        params = params.model_copy(update={"epochs": args.epochs})
    prepare_machine(params.threads, 0)
    ranking = read_json(args.artifacts / "rank" / args.device / "ranking.json", RANKED)
    world = World(
        Images.open(args.artifacts / "data"),
        Architecture.from_json(ranking["chosen"]["architecture"]),
        params,
        Protocol(args.blocks, 50, 0.5),
        args.work,
        Ledger(args.work / "ledger.json"),
    )
    text = compare(world, args.seeds)
    print(f"\n{text}", flush=True)
    sections = {"Equal latency": f"`python -m benchmarks.baselines`\n\n{text}"}
    replace_sections(args.out, "A searched network against torchvision's", sections)


if __name__ == "__main__":
    main()
