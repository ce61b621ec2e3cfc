"""A searched network against others: `python -m benchmarks.baselines --work FOLDER`.

MobileNetV2 and MobileNetV3-small are scaled in width until they are as fast as the searched
network in the same runtime, MEASURED with the pipeline's own protocol: in interleaved blocks, so
that only ratios count. Then all are trained alike: from scratch, the same recipe, the same epochs,
no teacher, three seeds. Both come as torchvision has them, and with a stem of stride 1, because
they were made for larger images and leave 28 pixels at one by one. Dropout is off everywhere. The
recipe is that of `params.yaml`, which was chosen on networks of the space, not on these.

What of a difference is the search's and what the space's is told by random networks of the space
at the same measured latency (`benchmarks.baseline_random`).

Results go to docs/results/baselines.md. Nothing here times a training: it may run on a busy
machine, but the measuring of widths and random networks should have the machine to itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.arms import DIFFERENCE_HEAD, Ledger, arm_row, difference_row, paired
from benchmarks.baseline_random import SEARCHED, TITLE, Field, beside_random, chosen
from benchmarks.baseline_world import (
    RUNTIME,
    Entrant,
    World,
    accuracies,
    of_space,
    parameters,
    ratio,
)
from benchmarks.results import replace_sections, table
from core.files import read_json
from core.process import prepare_machine
from core.schemas import RANKED
from core.settings import read_section
from devices.fleet.read import pick_device
from devices.latency.budgets import limits, read_latency_table
from devices.latency.device_space import device_space
from devices.measure.interleaved import Protocol
from models.nets.supernet import Supernet
from models.nets.weights import load_into
from models.search.rank.settings import RankParams
from models.space.architecture import Architecture
from models.space.space import SearchSpace
from models.training.learning import Images
from models.training.settings import TrainParams

ROOT = Path(__file__).resolve().parents[1]
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

    def entrant(self, width: float, images: Images) -> Entrant:
        """The network at a width, as a competitor."""
        return Entrant(self.title, f"width {width:g}", partial(self.build, width, images))


BASELINES = tuple(
    Baseline(name, stride) for name in ("mobilenet_v2", "mobilenet_v3_small") for stride in (2, 1)
)


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
    return widest(lambda width: ratio(world, baseline.entrant(width, world.images)), WIDTHS)


def compare(world: World, seeds: int) -> str:
    """Widths, accuracies and differences, as Markdown."""
    widths = {baseline: matched(world, baseline) for baseline in BASELINES}
    entrants = [of_space(SEARCHED, world.architecture)]
    entrants += [one.entrant(width, world.images) for one, (width, _) in widths.items()]
    sizes = [[SEARCHED, "", "1.000", parameters(entrants[0].build(0))]]
    for entrant, (width, found) in zip(entrants[1:], widths.values(), strict=True):
        sizes.append([entrant.title, f"{width:g}", f"{found:.3f}", parameters(entrant.build(0))])
    reached = accuracies(world, entrants, seeds)
    head = ("network", *(f"seed {seed}" for seed in range(seeds)), "mean", "std")
    differences = [
        difference_row(f"searched over {title}", paired(reached[SEARCHED], values))
        for title, values in reached.items()
        if title != SEARCHED
    ]
    return "\n\n".join(
        [
            describe(world),
            table(("network", "width", "latency, of the searched", "parameters"), sizes),
            table(head, [arm_row(title, values) for title, values in reached.items()]),
            table(DIFFERENCE_HEAD, differences),
        ]
    )


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


def field_of(args: argparse.Namespace, images: Images) -> Field:
    """The space, budget and supernet that the searched network comes from.

    Raises:
        ValueError: the device has no budget of latency, or was not measured.
    """
    device = pick_device(args.params, args.device)
    whole = SearchSpace.load(args.space, images.info.image_shape, len(images.info.classes))
    table_of_blocks = read_latency_table(args.artifacts / "profile" / args.device)
    latency = [one for one in limits(device, table_of_blocks) if one.key == "latency_ms"]
    if not latency:
        raise ValueError(
            f"'{args.device}' has no measured latency with a budget: there is nothing to be equal "
            "in. Take another --device, or --random 0."
        )
    supernet = Supernet(whole)
    load_into(supernet, args.artifacts / "supernet" / "supernet.safetensors")
    space = device_space(whole, args.device, device).space
    return Field(space, latency[0], supernet, read_section(args.params, "rank", RankParams))


def main() -> None:
    args = _flags()
    params = read_section(args.params, "train", TrainParams)
    params = params.model_copy(update={"epochs": args.epochs})
    prepare_machine(params.threads, 0)
    ranking = read_json(args.artifacts / "rank" / args.device / "ranking.json", RANKED)
    world = World(
        Images.read(args.artifacts / "data"),
        Architecture.from_json(ranking["chosen"]["architecture"]),
        params,
        Protocol(args.blocks, 50),
        args.work,
        Ledger(args.work / "ledger.json"),
    )
    command = f"`python -m benchmarks.baselines --device {args.device} --epochs {args.epochs:g}`"
    make: dict[str, Callable[[], str]] = {"Equal latency": partial(compare, world, args.seeds)}
    if args.random:
        field = field_of(args, world.images)
        make[TITLE] = partial(beside_random, world, field, chosen(world, field, args.random))
    sections = {title: f"{command}\n\n{text()}" for title, text in make.items()}
    print("\n".join(sections.values()), flush=True)
    replace_sections(args.out, "A searched network against torchvision's", sections)


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baselines", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=ROOT / "artifacts")
    parser.add_argument("--device", default="desktop-cpu", help="whose chosen network competes")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    parser.add_argument("--space", type=Path, default=ROOT / "models" / "spaces" / "compact.yaml")
    parser.add_argument("--epochs", type=float, default=1.0, help="of every training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--random", type=int, default=6, help="random networks; 0 for none")
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is half done")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "baselines.md")
    args = parser.parse_args()
    if args.seeds < 2 or args.random == 1 or args.random < 0:
        parser.error("differences need two seeds or more, and --random two networks or none")
    return args


if __name__ == "__main__":
    main()
