"""The supernet stage: train shared weights for a search space."""

from __future__ import annotations

import torch

from core.checkpoint import Checkpoint
from core.distributed import Processes
from models.space.space import SearchSpace
from models.training.learning import Images
from models.training.supernet.result import SupernetHistory, TrainedSupernet, sampled_accuracies
from models.training.supernet.settings import SupernetParams
from models.training.supernet.training import peak_step_bytes, train_supernet


def supernet(
    settings: SupernetParams,
    data: Images,
    space: SearchSpace,
    device: torch.device,
    processes: Processes,
    checkpoint: Checkpoint,
) -> TrainedSupernet | None:
    """Train shared weights for a search space; only the first process has the result."""
    network, run, strategy = train_supernet(space, data, settings, checkpoint, device, processes)
    processes.leave()
    if not processes.first:
        return None
    history = SupernetHistory.of(
        run,
        space=space.name,
        architectures=space.count(),
        strategy=settings.strategy.name,
        peak_step_bytes=peak_step_bytes(space, data, settings),
        judge="classifier" if strategy.classifies else "linear probe",
        subnets=sampled_accuracies(network, space, data, settings, strategy.classifies),
    )
    return TrainedSupernet(network, history)
