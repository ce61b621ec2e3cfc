"""The space's largest network as the teacher."""

from __future__ import annotations

import torch

from models.architecture import SCHEMA
from models.costs import block_flops, flops, parameters
from models.evaluate import folded, recalibrate
from models.space import SearchSpace
from models.subnet import Subnet
from models.supernet import Supernet, extract
from models.training import Objective, Run, supervised
from models.warm_start import shrink_and_perturb
from models.weights import load_into, to_bytes
from stages.common.checkpoint import Checkpoint
from stages.common.files import json_bytes
from stages.common.learning import EVAL_BATCH, Images, learn_with_checkpoints
from stages.common.teachers import ARCHITECTURE, WEIGHTS
from stages.teacher.params import TeacherParams
from stages.teacher.source import Given, Taught


def largest(given: Given, params: TeacherParams, checkpoint: Checkpoint) -> Taught:
    """Train the space's largest network and say all about it."""
    images = given.images
    space = SearchSpace.load(given.space, images.info.image_shape, len(images.info.classes))
    supernet = Supernet(space)
    load_into(supernet, given.supernet / "supernet.safetensors")
    teacher, run = train_teacher(supernet, space, images, params, checkpoint)
    architecture = teacher.architecture
    summary = {
        "architecture_id": architecture.id,
        "short": architecture.short(),
        "flops": flops(architecture),
        "parameters": parameters(architecture),
        "epochs": params.epochs,
    }
    files = {
        WEIGHTS: to_bytes(teacher),
        ARCHITECTURE: json_bytes(SCHEMA, architecture.to_json()),
    }
    return Taught(folded(teacher), summary, files, EVAL_BATCH, run)


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
