"""What distillation is worth: `python -m benchmarks.distil [SECTION]... --work FOLDER`.

It prints its sections and writes them to docs/results/distil.md; those not asked for stay there.
- accuracy: one network of a finished run, trained with and without a teacher's soft labels, from
  its slice of the supernet and from scratch, with three seeds and the recipe of `params.yaml`;
- steps: what cached and live soft labels cost, in interleaved blocks of steps.

All arms of `accuracy` take equal steps, and cached soft labels cost next to nothing (`steps`
measures it), so they take equal time. A seed decides the order of the images and the fresh
weights, the same in every arm; so arms are compared seed by seed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.arms import (
    DIFFERENCE_HEAD,
    Ledger,
    arm_row,
    difference_row,
    paired,
    unseen_accuracy,
)
from benchmarks.results import replace_sections, table
from benchmarks.timing import interleaved
from core.checkpoint import Checkpoint
from core.files import fingerprint, read_json
from core.process import prepare_machine
from core.schemas import RANKED
from core.settings import read_section
from devices.measure.agent.onnx_session import session_options
from models.nets.supernet import Supernet, extract
from models.nets.weights import load_into
from models.space.architecture import Architecture
from models.space.costs import flops
from models.space.space import SearchSpace
from models.training.learning import Images
from models.training.loop import Objective, Recipe, Run, supervised_step
from models.training.network import build_objective, train_network
from models.training.settings import TrainParams
from models.training.warm_start import shrink_and_perturb

ROOT = Path(__file__).resolve().parents[1]
STARTS: Mapping[str, float] = {"scratch": 0.0, "slice": 1.0}
"""The share of the slice in the initial weights, by the name of the start."""


@dataclass(frozen=True)
class World:
    """What every arm shares."""

    images: Images
    supernet: Supernet
    architecture: Architecture
    teachers: Mapping[str, Path]
    params: TrainParams
    work: Path


def open_world(args: argparse.Namespace) -> World:
    """Read data, supernet, the chosen network and the recipe of a finished run."""
    images = Images.read(args.artifacts / "data")
    space = SearchSpace.load(args.space, images.info.image_shape, len(images.info.classes))
    supernet = Supernet(space)
    load_into(supernet, args.artifacts / "supernet" / "supernet.safetensors")
    ranking = read_json(args.artifacts / "rank" / args.device / "ranking.json", RANKED)
    params = read_section(args.params, "train", TrainParams)
    if args.epochs is not None:
        params = params.model_copy(update={"epochs": args.epochs})
    return World(
        images,
        supernet,
        Architecture.from_json(ranking["chosen"]["architecture"]),
        {folder.name: folder for folder in args.teacher},
        params,
        args.work,
    )


def train_arm(world: World, start: str, teacher: str | None, seed: int) -> dict[str, float]:
    """Train one arm with one seed; its accuracy on all images it has not seen, and its seconds."""
    changes = {"seed": seed, "slice_share": STARTS[start]}
    params = world.params.model_copy(update=changes)
    objective = Objective(world.architecture.classes, params.label_smoothing)
    if teacher is not None:
        objective = build_objective(params, world.images, world.teachers[teacher], session_options)
    network = extract(world.supernet, world.architecture)
    shrink_and_perturb(network, params.slice_share, torch.Generator().manual_seed(seed))
    inputs = fingerprint(params.model_dump(exclude={"checkpoint_every"}), teacher)
    checkpoint = Checkpoint(world.work / f"{start}-{teacher}-{seed}", inputs)
    began = time.perf_counter()
    train_network(network, world.images, objective, params, checkpoint)
    seconds = time.perf_counter() - began
    checkpoint.clear()
    return {"accuracy": unseen_accuracy(world.images, network), "seconds": seconds}


def accuracies(world: World, seeds: int) -> dict[str, list[float]]:
    """Every arm's accuracy per seed; an arm is called `START, TEACHER`."""
    ledger = Ledger(world.work / "ledger.json")
    found: dict[str, list[float]] = {}
    for seed in range(seeds):  # all arms of a seed first: a stopped run has whole pairs
        for start in STARTS:
            for teacher in (None, *world.teachers):
                name = arm_name(start, teacher)
                key = fingerprint(world.params.model_dump(), name, seed)
                row = ledger.get(key, partial(train_arm, world, start, teacher, seed))
                print(f"{name}, seed {seed}: {row}", flush=True)
                found.setdefault(name, []).append(row["accuracy"])
    return found


def arm_name(start: str, teacher: str | None) -> str:
    """How the tables call an arm."""
    return f"{start}, {teacher or 'no teacher'}"


def accuracy_section(world: World, found: Mapping[str, Sequence[float]]) -> str:
    """Both tables and what they were made with."""
    seeds = len(next(iter(found.values())))
    head = ("start, teacher", *(f"seed {seed}" for seed in range(seeds)), "mean", "std")
    rows = [arm_row(name, values) for name, values in found.items()]
    pairs = [
        (f"{arm_name(start, teacher)} over {arm_name(start, None)}", start, teacher)
        for start in STARTS
        for teacher in world.teachers
    ]
    differences = [
        difference_row(text, paired(found[arm_name(s, t)], found[arm_name(s, None)]))
        for text, s, t in pairs
    ]
    for teacher in (None, *world.teachers):
        slice_, scratch = arm_name("slice", teacher), arm_name("scratch", teacher)
        difference = paired(found[slice_], found[scratch])
        differences.append(difference_row(f"{slice_} over {scratch}", difference))
    return "\n\n".join([describe(world), table(head, rows), table(DIFFERENCE_HEAD, differences)])


def describe(world: World) -> str:
    """Data, network, recipe and teachers in a sentence each."""
    params, images = world.params, world.images
    teachers = []
    for name, folder in world.teachers.items():
        content = json.loads((folder / "teacher.json").read_text(encoding="utf-8"))
        rows_NK = np.load(folder / "train_logits.npy")
        right = float((rows_NK.argmax(1) == images.train.labels_N).mean())
        test = content["accuracy"]["test"]
        epochs = content.get("epochs")
        trained = "" if epochs is None else f"{epochs:g} epochs, "
        teachers.append(
            f"`{name}` ({trained}{test:.4f} on test images, {right:.4f} on training images)"
        )
    return (
        f"{images.info.name}, {len(images.train):,} training images; one network of "
        f"{flops(world.architecture) / 1e6:.1f} MMAC; {params.epochs:g} epochs of batches of "
        f"{params.batch}, learning rate {params.learning_rate:g}, the rest of the recipe as in "
        f"`params.yaml`. Soft labels: weight {params.distill_weight:g}, temperature "
        f"{params.temperature:g}, of {' and '.join(teachers)}. Accuracy on the "
        f"{len(images.val) + len(images.test):,} validation and test images, by which no arm was "
        "chosen. A seed decides the images' order and the fresh weights."
    )


def steps_section(world: World, blocks: int = 25, calls: int = 2) -> str:
    """What a step costs with each kind of soft labels, over one without."""
    params, images = world.params, world.images
    stream = images.stream(params)
    batches = [stream.at(step) for step in range(4)]
    folder = next(iter(world.teachers.values()))
    objectives = {"none": Objective(world.architecture.classes)}
    for kind in ("cached", "live"):
        changed = params.model_copy(update={"soft_labels": kind})
        objectives[kind] = build_objective(changed, images, folder, session_options)
    things = {}
    for name, objective in objectives.items():
        network = extract(world.supernet, world.architecture).train()
        run = Run(network, Recipe(1_000_000, 0.01, ema_decay=params.ema_decay, window=1_000_000))
        learn = supervised_step(network, objective)
        things[name] = partial(run.advance, lambda step: batches[step % 4], learn)
    found = interleaved(things, blocks, calls)
    rows = []
    for name in ("cached", "live"):
        ratio, spread = found[name].over(found["none"])
        rows.append([name, f"**{ratio:.3f}**", f"{spread:.3f}"])
    return (
        f"Seconds of a step over those of a step without soft labels: medians over {blocks} "
        f"interleaved blocks of {calls} steps of {params.batch} images, {params.threads} thread. "
        f"The teacher has {teacher_cost(folder)} MMAC, the student "
        f"{flops(world.architecture) / 1e6:.1f}.\n\n"
        + table(("soft labels", "ratio", "largest minus smallest"), rows)
    )


def teacher_cost(folder: Path) -> str:
    """The teacher's multiply-accumulate operations, in millions."""
    content = json.loads((folder / "teacher.json").read_text(encoding="utf-8"))
    return f"{content['flops'] / 1e6:.1f}" if "flops" in content else "an unknown number of"


SECTIONS: Mapping[str, str] = {
    "accuracy": "Equal steps, cached soft labels",
    "steps": "What a step costs",
}


def command(section: str, args: argparse.Namespace) -> str:
    """What makes a section again."""
    words = ["python -m benchmarks.distil", section, "--work FOLDER", "--teacher"]
    words += [str(folder) for folder in args.teacher]
    if section == "accuracy":
        words += [f"--epochs {args.epochs:g}"] if args.epochs is not None else []
        words.append(f"--seeds {args.seeds}")
    return " ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distil", description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; none for all")
    parser.add_argument("--artifacts", type=Path, default=ROOT / "artifacts")
    parser.add_argument("--device", default="desktop-cpu", help="whose chosen network is trained")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    parser.add_argument("--space", type=Path, default=ROOT / "models/spaces/compact.yaml")
    parser.add_argument("--teacher", type=Path, nargs="+", default=[Path("artifacts/teacher")])
    parser.add_argument("--epochs", type=float, help="instead of those of the params")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is half done")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "distil.md")
    args = parser.parse_args()
    unknown = sorted(set(args.sections) - set(SECTIONS))
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    world = open_world(args)
    prepare_machine(world.params.threads, 0)
    found: dict[str, str] = {}
    for name in args.sections or SECTIONS:
        if name == "accuracy":
            text = accuracy_section(world, accuracies(world, args.seeds))
        else:
            text = steps_section(world)
        print(f"\n## {SECTIONS[name]}\n\n{text}", flush=True)
        found[SECTIONS[name]] = f"`{command(name, args)}`\n\n{text}"
    replace_sections(args.out, "What distillation is worth", found)


if __name__ == "__main__":
    main()
