"""What distillation is worth: `python -m benchmarks.distil [SECTION]... --work FOLDER`.

- accuracy: one network of a finished release, trained with and without a teacher's soft labels,
  from its slice of the supernet and from scratch, with three seeds and the recipe of the params;
- steps: what cached and live soft labels cost, in interleaved blocks of steps.

A seed decides the order of the images and the fresh weights, the same in every arm.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness.compare import arms_table, differences_table
from benchmarks.harness.flags import add_release, flags_of, require_known
from benchmarks.harness.markdown import table, write_sections
from benchmarks.harness.release import Release
from benchmarks.harness.runs import Runs
from benchmarks.harness.timing import interleaved
from core.process import prepare_machine
from devices.runtimes.onnxruntime.session import OnnxRuntimeSession
from models.nets.subnet import shrink_and_perturb
from models.nets.supernet import extract
from models.space.costs import flops
from models.training.loop import Recipe, Run
from models.training.objective import Objective, supervised_step
from models.training.settings import TrainParams
from models.training.teachers.result import StoredTeacher

STARTS = {"scratch": 0.0, "slice": 1.0}
"""The share of the slice in the initial weights, by the name of the start."""
SECTIONS = {"accuracy": "Equal steps, cached soft labels", "steps": "What a step costs"}


def train_arm(
    release: Release, params: TrainParams, start: str, teacher: Path | None, work: Path, seed: int
) -> dict[str, float]:
    """Train one arm with one seed."""
    network = extract(release.supernet, release.chosen())
    shrink_and_perturb(network, STARTS[start], torch.Generator().manual_seed(seed))
    recipe = params.model_copy(update={"seed": seed, "slice_share": STARTS[start]})
    return release.train(network, recipe, teacher, work)


def accuracy_section(release: Release, params: TrainParams, args: argparse.Namespace) -> str:
    """Every arm's accuracy on images it has not seen, and the differences."""
    teachers = {"no teacher": None, **{folder.name: folder for folder in args.teacher}}
    chosen, logits = release.chosen().id, [f / "train_logits.npy" for f in args.teacher]
    runs = Runs(args.work, *release.inputs(), chosen, params.model_dump(), *logits)
    arms = {
        f"{start}, {name}": partial(train_arm, release, params, start, folder, runs.folder)
        for start, (name, folder) in product(STARTS, teachers.items())
    }
    rows = runs.every(arms, range(args.seeds))
    found = {arm: [row["unseen"] for row in some] for arm, some in rows.items()}
    taught = list(product(STARTS, list(teachers)[1:]))
    pairs = [(f"{start}, {name}", f"{start}, no teacher") for start, name in taught]
    pairs += [(f"slice, {name}", f"scratch, {name}") for name in teachers]
    words = describe(release, params, args.teacher)
    return "\n\n".join(
        [words, arms_table(found, "start, teacher"), differences_table(found, pairs)]
    )


def describe(release: Release, params: TrainParams, folders: list[Path]) -> str:
    """Data, network, recipe and teachers."""
    images, teachers = release.images, []
    for folder in folders:
        content = json.loads((folder / "teacher.json").read_text(encoding="utf-8"))
        rows_NK = np.load(folder / "train_logits.npy")
        right = float((rows_NK.argmax(1) == images.train.labels_N).mean())
        epochs = f"{content['epochs']:g} epochs, " if content.get("epochs") is not None else ""
        test = f"{content['accuracy']['test']:.4f} on test images"
        teachers.append(f"`{folder.name}` ({epochs}{test}, {right:.4f} on training images)")
    return (
        f"{images.info.name}, {len(images.train):,} training images; one network of "
        f"{flops(release.chosen()) / 1e6:.1f} MMAC; {params.epochs:g} epochs of batches of "
        f"{params.batch}, learning rate {params.learning_rate:g}, the rest of the recipe as in "
        f"`params.yaml`. Soft labels: weight {params.distill_weight:g}, temperature "
        f"{params.temperature:g}, of {' and '.join(teachers)}. Accuracy on the "
        f"{len(images.val) + len(images.test):,} validation and test images, by which no arm was "
        "chosen. A seed decides the images' order and the fresh weights."
    )


def steps_section(release: Release, params: TrainParams, folder: Path) -> str:
    """What a step costs with each kind of soft labels, over one without."""
    blocks, calls, images, architecture = 25, 2, release.images, release.chosen()
    batches = [images.stream(params).at(step) for step in range(4)]
    objectives = {"none": Objective(architecture.classes)}
    teacher = StoredTeacher.read(folder)
    for kind in ("cached", "live"):
        changed = params.model_copy(update={"soft_labels": kind})
        objectives[kind] = teacher.objective(changed, images, OnnxRuntimeSession)
    things = {}
    for name, objective in objectives.items():
        network = extract(release.supernet, architecture).train()
        run = Run(network, Recipe(1_000_000, 0.01, ema_decay=params.ema_decay, window=1_000_000))
        learn = supervised_step(network, objective)
        things[name] = partial(run.advance, lambda step: batches[step % 4], learn)
    found = interleaved(things, blocks, calls)
    ratios = {name: found[name].over(found["none"]) for name in ("cached", "live")}
    content = json.loads((folder / "teacher.json").read_text(encoding="utf-8"))
    macs = f"{content['flops'] / 1e6:.1f}" if "flops" in content else "an unknown number of"
    return (
        f"Seconds of a step over those of a step without soft labels: medians over {blocks} "
        f"interleaved blocks of {calls} steps of {params.batch} images, {params.threads} thread. "
        f"The teacher has {macs} MMAC, the student {flops(architecture) / 1e6:.1f}.\n\n"
        + table(
            ("soft labels", "ratio", "largest minus smallest"),
            [[name, f"**{r:.3f}**", f"{spread:.3f}"] for name, (r, spread) in ratios.items()],
        )
    )


def main() -> None:
    parser = flags_of("distil", __doc__, "distil.md")
    add_release(parser, "desktop-cpu")
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; none for all")
    parser.add_argument("--teacher", type=Path, nargs="+", help="folders; the release's by default")
    parser.add_argument("--epochs", type=float, help="instead of those of the params")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    require_known(parser, args.sections, SECTIONS)
    args.teacher = args.teacher or [args.artifacts / "teacher"]
    prepare_machine(args.threads, 0)
    release = Release.open(args)
    changes = {} if args.epochs is None else {"epochs": args.epochs, "min_steps": 1}
    params = release.settings("train", TrainParams, **changes)
    words = f"--work FOLDER --teacher {' '.join(map(str, args.teacher))} --epochs {params.epochs:g}"
    found = {}
    for name in args.sections or SECTIONS:
        if name == "accuracy":
            text, flags = accuracy_section(release, params, args), f" --seeds {args.seeds}"
        else:
            text, flags = steps_section(release, params, args.teacher[0]), ""
        command = f"`python -m benchmarks.distil {name} {words}{flags}`"
        found[SECTIONS[name]] = f"{command}\n\n{text}"
    write_sections(args.out, "What distillation is worth", found)


if __name__ == "__main__":
    main()
