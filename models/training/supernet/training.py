"""Training a supernet from params."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from core.checkpoint import Checkpoint
from core.distributed import ALONE, Processes
from data.stream import TrainStream
from models.nets.memory import peak_bytes
from models.nets.pretrained.importance import order_by_importance
from models.nets.pretrained.match import StartReport, start_from
from models.nets.supernet import Supernet
from models.space.space import SearchSpace
from models.training.learning import Images, learn_with_checkpoints
from models.training.loop import Batches, Recipe, Run, parts, train
from models.training.objective import Objective
from models.training.strategies import Strategy, Task, build_strategy
from models.training.strategies.base import last_layers
from models.training.strategies.spos import SinglePath, SinglePathSettings
from models.training.supernet.settings import PRECISIONS, SupernetParams

CPU = torch.device("cpu")
IMPORTANCE_BATCHES = 4
"""Training batches by which a pretrained network's channels are ordered."""
LAST_LAYER_RATE = 1.0
"""High, because pooled features are small and the problem is convex (MoCo uses 30)."""


def train_supernet(
    space: SearchSpace,
    images: Images,
    params: SupernetParams,
    checkpoint: Checkpoint,
    device: torch.device = CPU,
    processes: Processes = ALONE,
    supernet: Supernet | None = None,
) -> tuple[Supernet, Run, Strategy]:
    """Train a supernet from `supernet`, or random weights, or resume from `checkpoint`.

    Each of the processes calls this. The result is on the CPU.
    """
    strategy = build(space, images, params, device, processes, supernet)
    stream = images.stream(params, (processes.rank, processes.count))
    recipe = params.recipe(stream.steps_per_epoch)
    run = Run(strategy.supernet, recipe, strategy.trainable(), strategy, processes)
    batches = feed(stream, strategy.views, params, device)
    learn_with_checkpoints("supernet", run, batches, strategy.learn, checkpoint)
    if steps := strategy.classifier_steps(stream.steps_per_epoch):
        # A kill from here on repeats only these few steps: the checkpoint has the features.
        fit_last_layer(strategy.task, feed(stream, 1, params, device), steps)
    return strategy.supernet.cpu(), run, strategy


def initial_supernet(
    space: SearchSpace, images: Images, params: SupernetParams, file: Path
) -> tuple[Supernet, StartReport | None]:
    """The supernet before its training, and what matched of `params.start_from`.

    `file` is the user's, `params.file`.

    Raises:
        UserError: the weights are missing, or do not fit the space.
    """
    supernet = Supernet(space, torch.Generator().manual_seed(params.seed))
    weights = params.start_from.read(file)
    if weights is None:
        return supernet, None
    if weights.preset is not None:
        batches = images.calibration(IMPORTANCE_BATCHES, params.batch, params.seed)
        weights = order_by_importance(weights, batches, images.info.mean, images.info.std)
    report = start_from(supernet, space, weights, images.info.mean, images.info.std)
    supernet.pretrained = True
    return supernet, report


def fit_last_layer(task: Task, batches: Batches, steps: int) -> None:
    """Train the last layer of the classifier alone, on random paths and labels, in place.

    The rest of the pipeline needs the supernet's logits (the search's likelihood, the ranking's
    accuracy, the slices from which teacher and students start); after a training without labels
    they would be those of random weights.
    """
    layers = nn.ModuleList(last_layers(task.supernet))
    task.supernet.requires_grad_(False)
    layers.requires_grad_(True)
    learner, recipe = SinglePath(task, SinglePathSettings()), Recipe(steps, LAST_LAYER_RATE)
    run = Run(task.supernet, recipe, layers.parameters(), processes=task.processes)
    train(run, batches, learner.learn)
    task.supernet.requires_grad_(True)


def build(
    space: SearchSpace,
    images: Images,
    params: SupernetParams,
    device: torch.device = CPU,
    processes: Processes = ALONE,
    supernet: Supernet | None = None,
) -> Strategy:
    """Build the selected strategy on `supernet`, or on one with the seed's random weights."""
    if supernet is None:
        supernet = Supernet(space, torch.Generator().manual_seed(params.seed))
    supernet.to(device).to(memory_format=memory_format(params))
    task = Task(
        supernet,
        space,
        Objective(space.classes, params.label_smoothing),
        params.seed,
        len(images.train),
        PRECISIONS[params.precision],
        processes,
    )
    return build_strategy(task, params.strategy)


def feed(
    stream: TrainStream, views: int, params: SupernetParams, device: torch.device = CPU
) -> Batches:
    """Batches of a stream on the device and in the memory format of the network."""
    return lambda step: stream.at(step, views).to(device, memory_format(params))


def memory_format(params: SupernetParams) -> torch.memory_format:
    """Memory format of images and weights."""
    return torch.channels_last if params.channels_last else torch.contiguous_format


def peak_step_bytes(space: SearchSpace, images: Images, params: SupernetParams) -> int:
    """Peak memory of the first step's forward and backward passes, besides weights and batch.

    It depends on the architectures that the step samples one after the other, not on the size of
    the supernet. Measured on a separate supernet, in one process.
    """
    strategy = build(space, images, params)
    batch = feed(images.stream(params, (0, params.processes)), strategy.views, params)(0)
    piece = parts(batch, params.accumulate)[0]

    def work() -> None:
        strategy.learn(0, piece)
        for parameter in strategy.trainable():
            parameter.grad = None

    return peak_bytes(work)
