"""The space's largest network as the teacher."""

from __future__ import annotations

import torch

from models.architecture import SCHEMA
from models.costs import block_flops, flops, parameters
from models.evaluate import fold_batch_norms, recalibrate
from models.space import SearchSpace
from models.subnet import Subnet
from models.supernet import Supernet, extract
from models.training import Objective, Run, supervised_step
from models.warm_start import shrink_and_perturb
from models.weights import load_into, to_bytes
from stages.common.checkpoint import Checkpoint
from stages.common.files import json_bytes
from stages.common.learning import EVAL_BATCH, Images, learn_with_checkpoints
from stages.common.teachers import ARCHITECTURE, WEIGHTS
from stages.teacher.params import TeacherParams
from stages.teacher.source import Inputs, Result


def from_space(inputs: Inputs, params: TeacherParams, checkpoint: Checkpoint) -> Result:
    """Train the space's largest network as the teacher."""
    images = inputs.images
    space = SearchSpace.load(inputs.space, images.info.image_shape, len(images.info.classes))
    supernet = Supernet(space)
    load_into(supernet, inputs.supernet / "supernet.safetensors")
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
    return Result(fold_batch_norms(teacher), summary, files, EVAL_BATCH, run)


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
    run = Run(teacher, params.recipe(stream.steps_per_epoch, params.ema_decay))
    objective = Objective(space.classes, params.label_smoothing)
    learn_with_checkpoints(
        "teacher", run, stream.at, supervised_step(teacher, objective), checkpoint
    )
    run.use_average()
    recalibrate(
        teacher, images.calibration(params.recalibration_batches, params.batch, params.seed)
    )
    return teacher.eval(), run
