"""The train stage: the trained weights of a device's network."""

from __future__ import annotations

from pathlib import Path

import torch

from core.checkpoint import Checkpoint
from core.distributed import Processes
from devices.runtimes.onnxruntime.session import OnnxRuntimeSession
from models.nets.subnet import shrink_and_perturb
from models.nets.supernet import Supernet, extract
from models.search.choice import Choice
from models.search.race.networks import RacedWeights
from models.space.space import SearchSpace
from models.training.history import History
from models.training.learning import Images
from models.training.network import compare_slice, train_network
from models.training.result import TrainedNetwork
from models.training.settings import TrainParams
from models.training.teachers.result import StoredTeacher


def train(
    settings: TrainParams,
    data: Images,
    space: SearchSpace,
    supernet: Supernet,
    teacher: StoredTeacher,
    choice: Choice,
    race: Path,
    processes: Processes,
    checkpoint: Checkpoint,
) -> TrainedNetwork | None:
    """Deliver the network as the race trained it; with several processes, train it here.

    The race trains each network in one process. With `train.processes` the slice is fine-tuned with
    distillation by all of them; only the first one has a result. `race` is the folder of the
    networks that the race trained to the end.

    Raises:
        EquivalenceError: the slice does not compute what the supernet computes.
        UserError: the race has not trained the network.
    """
    network = extract(supernet, choice.architecture)
    check = compare_slice(supernet, network, data, settings)
    if settings.processes == 1:
        trained = RacedWeights(race, choice.architecture)
        return TrainedNetwork.of(trained.network, data, check, trained.history)
    objective = teacher.objective(settings, data, OnnxRuntimeSession)
    shrink_and_perturb(network, settings.slice_share, torch.Generator().manual_seed(settings.seed))
    run = train_network(network, data, objective, settings, checkpoint, processes)
    processes.leave()
    if not processes.first:
        return None
    return TrainedNetwork.of(network, data, check, History.of(run))
