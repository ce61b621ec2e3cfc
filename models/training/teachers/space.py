"""The space's largest network as the teacher."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import torch

from core.artifact import Rounded
from core.checkpoint import Checkpoint
from core.files import json_bytes, read_json
from data.dataset import DatasetInfo
from models.nets.evaluate import fold_batch_norms
from models.nets.subnet import Subnet, shrink_and_perturb
from models.nets.supernet import extract
from models.nets.weights import load_into, to_bytes
from models.space.architecture import SCHEMA, Architecture
from models.space.costs import block_flops, flops, parameters
from models.training.learning import EVAL_BATCH, NetworkParams
from models.training.network import train_network
from models.training.objective import Objective
from models.training.teachers.base import (
    WEIGHTS,
    Inputs,
    OpenOnnx,
    Result,
    Source,
    Teacher,
    TeacherRecord,
)

ARCHITECTURE = "architecture.json"


class SpaceRecord(TeacherRecord):
    """The space's largest network."""

    source: Literal["space"] = "space"
    architecture_id: str
    short: str
    flops: int
    parameters: int
    epochs: Rounded

    def load(self, folder: Path, info: DatasetInfo, threads: int, onnx: OpenOnnx) -> Teacher:
        """Load it with folded batch norms."""
        architecture = Architecture.from_json(read_json(folder / ARCHITECTURE, SCHEMA))
        subnet = Subnet(architecture)
        load_into(subnet, folder / WEIGHTS)
        return fold_batch_norms(subnet)


class SpaceSource(Source):
    """The space's largest network, trained from its slice of the supernet."""

    name: Literal["space"] = "space"
    record_type: ClassVar[type[TeacherRecord]] = SpaceRecord

    def check(self, file: Path, pixels: int, info: DatasetInfo | None, onnx: OpenOnnx) -> None:
        """Nothing to check: the user's file is not read."""

    def teach(self, inputs: Inputs, params: NetworkParams, checkpoint: Checkpoint) -> Result:
        """Train the network with the most FLOPs."""
        architecture = inputs.space.extreme(block_flops, largest=True)
        teacher = extract(inputs.supernet, architecture)
        shrink_and_perturb(teacher, params.slice_share, torch.Generator().manual_seed(params.seed))
        objective = Objective(inputs.space.classes, params.label_smoothing)
        run = train_network(teacher, inputs.images, objective, params, checkpoint, title="teacher")
        record = SpaceRecord(
            architecture_id=architecture.id,
            short=architecture.short(),
            flops=flops(architecture),
            parameters=parameters(architecture),
            epochs=run.recipe.epochs,
        )
        files = {
            WEIGHTS: to_bytes(teacher),
            ARCHITECTURE: json_bytes(SCHEMA, architecture.to_json()),
        }
        return Result(fold_batch_norms(teacher), record, files, EVAL_BATCH, run)
