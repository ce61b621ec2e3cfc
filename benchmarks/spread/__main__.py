"""Whether there is something to find: `python -m benchmarks.spread --data FOLDER --work FOLDER`.

It draws uniformly random networks whose multiply-accumulates lie in a narrow band below a budget,
trains all with one recipe from random weights, and some again with other seeds. An analysis of
variance separates networks from seeds: where networks of equal cost differ by less than the seeds
of one, no search of the space can matter. Kendall's tau says which simple number orders them. Only
training and validation images are read.

The data folder is that of the stage `prepare`. A stopped benchmark resumes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks.harness.flags import PARAMS, flags_of, space_file
from benchmarks.harness.markdown import write_sections
from benchmarks.harness.presets import TORCH
from benchmarks.harness.release import settings
from benchmarks.harness.runs import Row, Runs
from benchmarks.spread.band import draw
from benchmarks.spread.report import Trained, report
from core.checkpoint import Checkpoint
from core.files import fingerprint
from core.process import prepare_machine
from models.nets.subnet import Subnet
from models.space.architecture import Architecture
from models.space.space import SearchSpace
from models.training.learning import Images
from models.training.network import train_network
from models.training.objective import Objective
from models.training.settings import TrainParams


def train(architecture: Architecture, images: Images, params: TrainParams, work: Path) -> Row:
    """Accuracy on all validation images after training from random weights; resumable."""
    network = Subnet(architecture, torch.Generator().manual_seed(params.seed))
    network.to(memory_format=torch.channels_last)
    objective = Objective(len(images.classes), params.label_smoothing)
    inputs = fingerprint(architecture.to_json(), params.model_dump())
    checkpoint = Checkpoint(work / inputs[:16], inputs)
    train_network(network, images, objective, params, checkpoint)
    checkpoint.clear()
    return {"accuracy": images.accuracy(network, "val"), "short": architecture.short()}


def measure(args: argparse.Namespace, images: Images, params: TrainParams) -> str:
    """Train what was not trained before, and report."""
    space = SearchSpace.load(args.space, images.image_shape, len(images.classes))
    budget = args.budget * 10**6
    networks = draw(space, args.least * budget, budget, args.networks)
    recipe = params.model_dump(exclude={"checkpoint_every", "seed", "threads"})
    runs = Runs(args.work, args.data / "dataset.json", recipe)

    def trained(number: int, seed: int) -> float:
        one, own = networks[number], params.model_copy(update={"seed": seed})
        run = partial(train, one, images, own, runs.folder)
        return float(runs.get(f"{one.id}-seed{seed}", run)["accuracy"])

    # Repeated ones first: a stopped benchmark can report a smaller number of networks.
    seeds = [args.seeds] * args.repeated + [1] * (args.networks - args.repeated)
    rows = [[trained(number, seed) for seed in range(count)] for number, count in enumerate(seeds)]
    return report(space, Trained(networks, rows))


def main() -> None:
    args = _flags()
    prepare_machine(args.threads, 0)
    images = Images.read(args.data)
    params = settings(PARAMS, "train", TrainParams, epochs=args.epochs, min_steps=1)
    text = measure(args, images, params)
    how = f"`python -m benchmarks.spread {_command(args)}`, {TORCH}."
    what = (
        f"{images.info.source.get('images', len(images.train)):,} images of {args.name}: "
        f"{len(images.train):,} to train, {len(images.val):,} to validate. {args.networks} random "
        f"networks of {args.least:g} to 1 times {args.budget:g} million multiply-accumulates; "
        f"{args.epochs:g} epochs of batches of {params.batch}, learning rate "
        f"{params.learning_rate:g}, the rest as `train`'s defaults."
    )
    heading = f"`{args.space.stem}`, {args.budget:g} MMACs, {args.name}"
    title = "How much networks of equal cost differ"
    write_sections(args.out, title, {heading: f"{how}\n\n{what}\n\n{text}"})


def _command(args: argparse.Namespace) -> str:
    words = ("budget", "networks", "repeated", "seeds", "epochs")
    flags = " ".join(f"--{word} {getattr(args, word):g}" for word in words)
    return f"--space {args.space.stem} --data FOLDER --work FOLDER {flags}"


def _flags(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = flags_of("spread", __doc__, "spread.md")
    parser.add_argument("--space", type=space_file, default="wide", help="a preset, or a YAML file")
    parser.add_argument("--data", type=Path, required=True, help="prepared images")
    parser.add_argument("--name", default="CIFAR-10", help="of the images, for the page")
    parser.add_argument("--work", type=Path, required=True, help="folder of finished runs")
    parser.add_argument("--budget", type=float, default=12.5, help="million multiply-accumulates")
    parser.add_argument("--least", type=float, default=0.9, help="lower end, share of the budget")
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--repeated", type=int, default=5, help="networks trained with more seeds")
    parser.add_argument("--seeds", type=int, default=2, help="of each repeated network")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(given)
    if not 0 <= args.least < 1:
        parser.error("--least must be at least 0 and below 1.")
    if not 2 <= args.repeated <= args.networks or args.seeds < 2:
        parser.error("seed noise needs --repeated of 2 to --networks, and --seeds of 2 or more.")
    return args


if __name__ == "__main__":
    main()
