"""Training of one candidate up to a rung, and its evaluation there.

A rung continues the candidate's final training: the same recipe, batches and teacher as stage
`train`, so the last rung's network IS the trained one. At a rung the averaged weights with
recalibrated batch norms are evaluated on all validation images; the run itself is not changed by
that. A job is a pure function of its world, its architecture, its seed and its steps.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from core.artifact import Record
from core.errors import UserError
from core.executors import report
from core.files import atomic_path
from core.settings import derive_seed
from data.stream import eval_batches
from models.nets.evaluate import nll_and_accuracy, recalibrate
from models.nets.subnet import Subnet, shrink_and_perturb
from models.nets.supernet import Supernet, extract
from models.nets.weights import to_bytes
from models.search.rank.indicators import Evidence, available
from models.space.architecture import Architecture
from models.space.space import SearchSpace
from models.training.history import History
from models.training.learning import EVAL_BATCH, Images
from models.training.loop import Run, train
from models.training.objective import Objective, supervised_step
from models.training.settings import TrainParams
from models.training.teachers.base import OpenOnnx
from models.training.teachers.result import StoredTeacher


@dataclass(frozen=True)
class Folders:
    """What a training depends on, besides its settings: outputs of stages, and the space's file."""

    data: Path
    space: Path
    supernet: Path
    teacher: Path


@dataclass(frozen=True)
class World:
    """What all trainings of a race share."""

    images: Images
    supernet: Supernet
    objective: Objective
    params: TrainParams

    @classmethod
    def open(cls, folders: Folders, params: TrainParams, onnx: OpenOnnx) -> World:
        """Open the outputs of the stages before.

        Raises:
            UserError: something is missing, corrupt or does not belong together.
        """
        images = Images.read(folders.data)
        space = SearchSpace.read(folders.space, images)
        supernet = Supernet.read(folders.supernet, space)
        objective = StoredTeacher.read(folders.teacher).objective(params, images, onnx)
        return cls(images, supernet, objective, params)

    def seeded(self, repeat: int) -> TrainParams:
        """The recipe of a network's first training (0), or of a repeat with another seed."""
        if repeat == 0:
            return self.params
        seed = derive_seed(self.params.seed, f"repeat {repeat}")
        return self.params.model_copy(update={"seed": seed})

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.params.recipe(self.images.stream(self.params).steps_per_epoch).steps

    @cached_property
    def evidence(self) -> Evidence:
        """What the indicators of a slice are computed from."""
        params = self.params
        calibration = self.images.calibration(4, 256, params.seed)
        held_out = list(eval_batches(self.images.val, self.images.info, EVAL_BATCH))
        return Evidence(self.supernet, calibration, held_out)


@dataclass(frozen=True)
class Job:
    """One candidate's training up to a rung.

    Attributes:
        repeat: 0, or the number of a repeat with another seed.
        until: steps after which it is evaluated.
        begin: steps of `state`.
        state: of the run at the rung before; None: from its slice of the supernet.
        save: file for checkpoints within the rung; None: none.
        indicators: of its slice, if known from an earlier rung; None: to be computed.
    """

    architecture: Architecture
    repeat: int
    until: int
    begin: int = 0
    state: bytes | None = None
    save: Path | None = None
    indicators: Mapping[str, float] | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return f"the training of network {self.architecture.id}"


class Standing(Record):
    """A candidate's evaluation at a rung, on all validation images."""

    steps: int
    nll: float
    """Mean cross-entropy, nats per image; what the race decides by."""
    accuracy: float
    """Top-1; only reported."""
    indicators: dict[str, float]
    """Training-free scores of its slice of the supernet; higher is better. Equal at all rungs."""


@dataclass(frozen=True)
class Finished:
    """A finished job.

    Attributes:
        state: of the run, from which the next rung continues.
        weights: of the evaluated network, as safetensors.
    """

    standing: Standing
    state: bytes
    weights: bytes
    history: History


def advance(world: World, job: Job) -> Finished:
    """Train a candidate up to a rung and evaluate it; the world is not changed.

    It reports its completed steps to the executor.

    Raises:
        UserError: the training diverged.
    """
    params = world.seeded(job.repeat)
    run = _open_run(world, job, params)
    learn = supervised_step(run.module, world.objective, params.mixup)
    try:
        train(
            run,
            world.images.stream(params).at,
            learn,
            until=job.until,
            save=None if job.save is None else _saver(job.save),
            report=lambda step, _: report(step),
        )
    except UserError as error:
        raise UserError(f"network {job.architecture.id}: {error}") from error
    network = _averaged(run, world.images, params)
    batches = eval_batches(world.images.val, world.images.info, EVAL_BATCH)
    nll, accuracy = nll_and_accuracy(network, batches)
    known = job.indicators
    standing = Standing(
        steps=run.step,
        nll=nll,
        accuracy=accuracy,
        indicators=dict(_scores(world, job.architecture) if known is None else known),
    )
    return Finished(standing, _pack(run.state()), to_bytes(network), History.of(run))


def _scores(world: World, architecture: Architecture) -> dict[str, float]:
    return {
        name: score(world.evidence, architecture)
        for name, score in available(world.evidence).items()
    }


def _open_run(world: World, job: Job, params: TrainParams) -> Run:
    """The run at its last checkpoint, or new from the candidate's slice."""
    recipe = params.recipe(world.images.stream(params).steps_per_epoch)
    states = [job.state] if job.state is not None else []
    if job.save is not None and job.save.is_file():
        states.append(job.save.read_bytes())
    found = [_unpack(state) for state in states]
    fitting = [state for state in found if state["step"] <= job.until]
    if fitting:
        network = Subnet(job.architecture).to(memory_format=torch.channels_last)
        run = Run(network, recipe)
        run.restore(max(fitting, key=lambda state: int(state["step"])))
        return run
    world.supernet.train()
    network = extract(world.supernet, job.architecture)
    shrink_and_perturb(network, params.slice_share, torch.Generator().manual_seed(params.seed))
    return Run(network, recipe)


@torch.no_grad()
def _averaged(run: Run, images: Images, params: TrainParams) -> Subnet:
    """A copy of the run's network with averaged weights and recalibrated batch norms."""
    assert isinstance(run.module, Subnet)
    network = Subnet(run.module.architecture).to(memory_format=torch.channels_last)
    network.load_state_dict(run.module.state_dict())
    for parameter, mean in zip(network.parameters(), run.average, strict=bool(run.average)):
        parameter.copy_(mean)
    recalibrate(
        network, images.calibration(params.recalibration_batches, params.batch, params.seed)
    )
    return network.eval()


def _saver(file: Path) -> Any:
    def save(state: dict[str, Any]) -> None:
        with atomic_path(file) as temporary:
            temporary.write_bytes(_pack(state))

    return save


def _pack(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _unpack(content: bytes) -> dict[str, Any]:
    # weights_only: tensors and plain values, never arbitrary objects.
    return dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
