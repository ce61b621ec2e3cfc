"""A searched network against others: `python -m benchmarks.baselines --work FOLDER`.

MobileNetV2 and MobileNetV3-small, as torchvision has them and with a stem of stride 1, are scaled
in width until they are as fast as the searched network in the same runtime, MEASURED with the
pipeline's own protocol. Then all are trained alike: from scratch, the recipe of `params.yaml`, the
same epochs, no teacher, no dropout. Random networks of the space at the same measured latency
(`benchmarks.baselines.peers`) show how much is due to the search and how much to the space.

Trainings may run on a busy machine; latencies should have the machine to themselves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from benchmarks.baselines.peers import SEARCHED, TITLE, beside_random
from benchmarks.baselines.world import RUNTIME, Entrant, World, of_space
from benchmarks.harness.compare import arms_table, differences_table
from benchmarks.harness.flags import add_release, flags_of
from benchmarks.harness.markdown import table, write_sections
from benchmarks.harness.presets import TORCHVISION, torchvision_network
from benchmarks.harness.release import Release
from benchmarks.harness.runs import Runs
from core.process import prepare_machine
from devices.measure.interleaved import Protocol
from models.training.settings import TrainParams

WIDTHS = [step / 100 for step in range(5, 205, 5)]
SLACK = 1.03
"""A baseline may be this much slower: widths come in steps, and the doubt is theirs."""


def scaled(world: World, name: str, stride: int, width: float) -> Entrant:
    """A network of torchvision at a width."""
    info = world.release.images.info
    channels, classes = info.image_shape[0], len(info.classes)

    def build(seed: int) -> nn.Module:
        options = {"width_mult": width, "dropout": 0.0}
        return torchvision_network(name, channels, classes, seed, stride, **options)

    return Entrant(f"{name}, stem of stride {stride}", f"width {width:g}", build)


def widest(ratio_of: Callable[[float], float], widths: Sequence[float]) -> tuple[float, float]:
    """The widest of rising widths that is fast enough (else the first), by bisection; its ratio."""
    found = widths[max(0, bisect_right(widths, SLACK, key=ratio_of) - 1)]
    return found, ratio_of(found)


def compare(world: World, seeds: int) -> str:
    """Widths, accuracies and differences, as Markdown."""
    searched = of_space(SEARCHED, world.release.chosen())
    sizes, entrants = [[SEARCHED, "", "1.000", searched.parameters]], [searched]
    for name in TORCHVISION:
        for stride in (2, 1):
            at = partial(scaled, world, name, stride)
            width, ratio = widest(lambda width, at=at: world.ratio(at(width)), WIDTHS)  # type: ignore[misc]
            entrant = at(width)
            entrants.append(entrant)
            sizes.append([entrant.title, f"{width:g}", f"{ratio:.3f}", entrant.parameters])
    found: dict[str, list[float]] = {entrant.title: [] for entrant in entrants}
    for seed in range(seeds):  # all networks of a seed first: a stopped run has whole pairs
        for entrant in entrants:
            found[entrant.title].append(world.accuracy(entrant, seed))
    return "\n\n".join(
        [
            describe(world),
            table(("network", "width", "latency, of the searched", "parameters"), sizes),
            arms_table(found, "network"),
            differences_table(found, [(SEARCHED, title) for title in list(found)[1:]]),
        ]
    )


def describe(world: World) -> str:
    """Data, recipe and protocol."""
    params, images, protocol = world.params, world.release.images, world.protocol
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
    parser = flags_of("baselines", __doc__, "baselines.md")
    add_release(parser, "desktop-cpu")
    parser.add_argument("--epochs", type=float, default=1.0, help="of every training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--random", type=int, default=6, help="random networks; 0 for none")
    args = parser.parse_args()
    prepare_machine(args.threads, 0)
    release = Release.open(args)
    params = release.settings("train", TrainParams, epochs=args.epochs, min_steps=1)
    runs = Runs(args.work, *release.inputs(), release.chosen().id, params.model_dump())
    world = World(release, params, Protocol(15, 50), runs)
    command = f"`python -m benchmarks.baselines --device {args.device} --epochs {args.epochs:g}`"
    found = {"Equal latency": f"{command}\n\n{compare(world, args.seeds)}"}
    if args.random:
        found[TITLE] = f"{command}\n\n{beside_random(world, args.random)}"
    write_sections(args.out, "A searched network against torchvision's", found)


if __name__ == "__main__":
    main()
