"""The teacher stage: the space's largest network, and its opinion of every training image."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from data.stream import eval_batches
from models.architecture import SCHEMA
from models.costs import block_flops, flops, parameters
from models.evaluate import folded, logits, recalibrate
from models.space import SearchSpace
from models.subnet import Subnet
from models.supernet import Supernet, extract
from models.training import Objective, Run, supervised
from models.warm_start import shrink_and_perturb
from models.weights import load_into, to_bytes
from stages.common.checkpoint import Checkpoint
from stages.common.files import rounded, write_array, write_bytes, write_json
from stages.common.learning import (
    EVAL_BATCH,
    Images,
    history_rows,
    inputs_fingerprint,
    learn_with_checkpoints,
)
from stages.common.params import read_section
from stages.common.runtime import prepare_machine
from stages.common.schemas import HISTORY
from stages.teacher.params import TeacherParams


def train_teacher(
    supernet: Supernet,
    space: SearchSpace,
    images: Images,
    params: TeacherParams,
    checkpoint: Checkpoint,
) -> tuple[Subnet, Run]:
    """Train the network with the most operations, from its slice of the supernet.

    What comes back holds the averaged weights, with batch norms recalibrated for them.
    """
    teacher = extract(supernet, space.extreme(block_flops, largest=True))
    shrink_and_perturb(teacher, params.slice_share, torch.Generator().manual_seed(params.seed))
    stream = images.stream(params)
    run = Run(teacher, params.recipe(stream.steps_per_epoch, params.ema_decay))
    objective = Objective(space.classes, params.label_smoothing)
    learn_with_checkpoints("teacher", run, stream.at, supervised(teacher, objective), checkpoint)
    run.use_average()
    recalibrate(
        teacher, images.calibration(params.recalibration_batches, params.batch, params.seed)
    )
    return teacher.eval(), run


def main() -> None:
    """Parse the flags, read, train, write."""
    parser = argparse.ArgumentParser(prog="python -m stages.teacher", description=__doc__)
    for flag in ("--params", "--space", "--data", "--supernet", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    args = parser.parse_args()
    params = read_section(args.params, "teacher", TeacherParams)
    prepare_machine(params.threads, params.seed)
    images = Images.open(args.data)
    space = SearchSpace.load(args.space, images.info.image_shape, len(images.info.classes))
    supernet = Supernet(space)
    load_into(supernet, args.supernet / "supernet.safetensors")
    inputs = inputs_fingerprint("teacher", params, args.space, args.data, args.supernet)
    checkpoint = Checkpoint(args.out, inputs)

    teacher, run = train_teacher(supernet, space, images, params, checkpoint)
    architecture = teacher.architecture
    summary = {
        "architecture_id": architecture.id,
        "short": architecture.short(),
        "flops": flops(architecture),
        "parameters": parameters(architecture),
        "epochs": params.epochs,
        "accuracy": {split: rounded(images.accuracy(teacher, split)) for split in ("val", "test")},
    }
    train_logits_NK = logits(folded(teacher), eval_batches(images.train, images.info, EVAL_BATCH))
    write_bytes(args.out / "teacher.safetensors", to_bytes(teacher))
    write_json(args.out / "architecture.json", SCHEMA, architecture.to_json())
    write_json(args.out / "teacher.json", "netwright/teacher/1", summary)
    write_array(args.out / "train_logits.npy", train_logits_NK)
    write_json(args.out / "history.json", HISTORY, {"steps": history_rows(run)})
    checkpoint.clear()
