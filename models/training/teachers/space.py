"""The space's largest network as the teacher."""

from __future__ import annotations

import torch

from core.checkpoint import Checkpoint
from core.files import json_bytes
from models.nets.evaluate import fold_batch_norms, recalibrate
from models.nets.subnet import Subnet, shrink_and_perturb
from models.nets.supernet import Supernet, extract
from models.nets.weights import to_bytes
from models.space.architecture import SCHEMA
from models.space.costs import block_flops, flops, parameters
from models.space.space import SearchSpace
from models.training.learning import EVAL_BATCH, Images, learn_with_checkpoints
from models.training.loop import Objective, Run, supervised_step
from models.training.teachers.load import ARCHITECTURE, WEIGHTS
from models.training.teachers.record import SpaceRecord
from models.training.teachers.settings import TeacherParams
from models.training.teachers.source import Inputs, Result


def from_space(inputs: Inputs, params: TeacherParams, checkpoint: Checkpoint) -> Result:
    """Train the space's largest network as the teacher."""
    teacher, run = train_teacher(inputs.supernet, inputs.space, inputs.images, params, checkpoint)
    architecture = teacher.architecture
    record = SpaceRecord(
        architecture_id=architecture.id,
        short=architecture.short(),
        flops=flops(architecture),
        parameters=parameters(architecture),
        epochs=params.epochs,
    )
    files = {
        WEIGHTS: to_bytes(teacher),
        ARCHITECTURE: json_bytes(SCHEMA, architecture.to_json()),
    }
    return Result(fold_batch_norms(teacher), record, files, EVAL_BATCH, run)


def train_teacher(
    supernet: Supernet,
    space: SearchSpace,
    images: Images,
    params: TeacherParams,
    checkpoint: Checkpoint,
) -> tuple[Subnet, Run]:
    """Train the network with the most FLOPs, from its slice of the supernet.

    Returns it with the averaged weights and recalibrated batch norms.
    """
    teacher = extract(supernet, space.extreme(block_flops, largest=True))
    shrink_and_perturb(teacher, params.slice_share, torch.Generator().manual_seed(params.seed))
    stream = images.stream(params)
    run = Run(teacher, params.recipe(stream.steps_per_epoch))
    objective = Objective(space.classes, params.label_smoothing)
    learn_with_checkpoints(
        "teacher", run, stream.at, supervised_step(teacher, objective), checkpoint
    )
    run.use_average()
    recalibrate(
        teacher, images.calibration(params.recalibration_batches, params.batch, params.seed)
    )
    return teacher.eval(), run
