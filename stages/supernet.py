"""The supernet stage: train shared weights for a search space."""

from __future__ import annotations

from pathlib import Path

import torch

from core.checkpoint import Checkpoint
from core.distributed import Processes
from core.progress import note_line
from models.nets.pretrained.supernet import note_of
from models.space.space import SearchSpace
from models.training.learning import Images
from models.training.supernet.chance import require_better_than_chance
from models.training.supernet.result import SupernetHistory, TrainedSupernet, sampled_accuracies
from models.training.supernet.settings import SupernetParams
from models.training.supernet.training import (
    initial_supernet,
    peak_step_bytes,
    train_supernet,
)


def supernet(
    settings: SupernetParams,
    data: Images,
    space: SearchSpace,
    file: Path,
    device: torch.device,
    processes: Processes,
    checkpoint: Checkpoint,
) -> TrainedSupernet | None:
    """Train shared weights for a search space; only the first process has the result.

    Raises:
        UserError: `file`, the user's weights, does not fit; its networks are no better than chance.
    """
    initial, start = initial_supernet(space, data, settings, file)
    if start is not None and processes.first:
        print(note_line(start.describe()), flush=True)
    network, run, strategy = train_supernet(
        space, data, settings, checkpoint, device, processes, initial
    )
    processes.leave()
    if not processes.first:
        return None
    subnets = sampled_accuracies(network, space, data, settings, strategy.classifies)
    for note in require_better_than_chance(subnets, data, settings, run.step):
        print(note_line(note), flush=True)
    history = SupernetHistory.of(
        run,
        space=space.name,
        architectures=space.count(),
        strategy=settings.strategy.name,
        start=start,
        peak_step_bytes=peak_step_bytes(space, data, settings),
        judge="classifier" if strategy.classifies else "linear probe",
        subnets=subnets,
    )
    return TrainedSupernet(network, history, note_of(network, space, data.info))
