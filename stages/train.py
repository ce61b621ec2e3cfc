"""The train stage: from a selected architecture to trained weights."""

from __future__ import annotations

from pathlib import Path

import torch

from core.checkpoint import Checkpoint
from core.distributed import Processes
from devices.runtimes.onnxruntime.session import OnnxRuntimeSession
from models.nets.subnet import shrink_and_perturb
from models.nets.supernet import Supernet, extract
from models.search.choice import Choice
from models.space.space import SearchSpace
from models.training.history import History
from models.training.learning import Images
from models.training.network import compare_slice, train_network
from models.training.result import TrainedNetwork
from models.training.reuse import reuse_or_train
from models.training.settings import TrainParams
from models.training.teachers.result import StoredTeacher


def train(
    settings: TrainParams,
    data: Images,
    space: SearchSpace,
    supernet: Supernet,
    teacher: StoredTeacher,
    choice: Choice,
    out: Path,
    processes: Processes,
    checkpoint: Checkpoint,
) -> None:
    """Fine-tune the slice of the selected architecture, with distillation.

    The network is copied if another device trained it from the same inputs.

    Raises:
        EquivalenceError: the slice does not compute what the supernet computes.
    """

    def train_slice() -> TrainedNetwork | None:
        objective = teacher.objective(settings, data, OnnxRuntimeSession)
        network = extract(supernet, choice.architecture)
        check = compare_slice(supernet, network, data, settings)
        generator = torch.Generator().manual_seed(settings.seed)
        shrink_and_perturb(network, settings.slice_share, generator)
        run = train_network(network, data, objective, settings, checkpoint, processes)
        processes.leave()
        if not processes.first:
            return None
        return TrainedNetwork.of(network, data, check, History.of(run))

    reuse_or_train(out, checkpoint.inputs, train_slice, processes)
