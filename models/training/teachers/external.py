"""External teachers: torchvision classifiers with the user's weights, and ONNX files."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from core.checkpoint import Checkpoint
from data.stream import Batch
from models.nets.evaluate import recalibrate
from models.nets.weights import to_bytes
from models.training.learning import Images, learn_with_checkpoints
from models.training.loop import Learn, Objective, Outcome, Run, supervised_step
from models.training.teachers.check import onnx_input
from models.training.teachers.load import NETWORK, WEIGHTS, view_of, with_view
from models.training.teachers.onnx import OnnxTeacher
from models.training.teachers.record import OnnxRecord, TeacherInput, TorchvisionRecord
from models.training.teachers.settings import TeacherParams
from models.training.teachers.source import Inputs, Result
from models.training.teachers.torchvision import CHANNELS, Loaded, load
from models.training.teachers.view import View

BATCH = 50
"""Images per batch; external networks and their inputs may be large."""


def from_onnx(inputs: Inputs, params: TeacherParams, _: Checkpoint) -> Result:
    """Use an ONNX classifier unchanged."""
    info = inputs.images.info
    teacher = OnnxTeacher(inputs.file, params.threads, inputs.onnx)
    wanted = onnx_input(teacher, inputs.file, params.input, info)
    record = OnnxRecord(
        input=wanted, outputs="probabilities" if teacher.gives_probabilities else "logits"
    )
    view = view_of(info, wanted)
    return Result(with_view(view, teacher), record, {NETWORK: inputs.file.read_bytes()}, BATCH)


def from_torchvision(inputs: Inputs, params: TeacherParams, checkpoint: Checkpoint) -> Result:
    """Load a torchvision classifier with the user's weights, and train it if needed."""
    images, settings = inputs.images, params.torchvision
    loaded = load(settings.name, len(images.info.classes), inputs.file, params.seed)
    wanted = TeacherInput(channels=CHANNELS, **params.input.model_dump())
    view = view_of(images.info, wanted)
    run = None
    if settings.fine_tune or loaded.fresh_layer is not None:
        run = fine_tune(loaded, view, images, params, checkpoint)
    network = loaded.network.eval()
    record = TorchvisionRecord(
        name=settings.name,
        input=wanted,
        parameters=sum(p.numel() for p in network.parameters()),
        fine_tuned=settings.fine_tune,
        new_layer=loaded.fresh_layer,
        epochs=None if run is None else params.epochs,
    )
    return Result(with_view(view, network), record, {WEIGHTS: to_bytes(network)}, BATCH, run)


def fine_tune(
    loaded: Loaded, view: View, images: Images, params: TeacherParams, checkpoint: Checkpoint
) -> Run:
    """Train a classifier in place: all layers, or only its new last layer.

    Frozen layers also keep their batch norm statistics.
    """
    network, layer = loaded.network, loaded.fresh_layer
    everything = params.torchvision.fine_tune or layer is None
    learning = network if everything else network.get_submodule(str(layer))
    network.requires_grad_(False)
    learning.requires_grad_(True)
    stream = images.stream(params)
    run = Run(network, params.recipe(stream.steps_per_epoch), learning.parameters())
    objective = Objective(len(images.info.classes), params.label_smoothing)
    learn = supervised_step(_model(network, view, everything), objective, params.mixup)
    learn_with_checkpoints(
        "teacher", run, stream.at, seed_each_step(learn, params.seed), checkpoint
    )
    run.use_average()
    if everything:
        plain = images.calibration(params.recalibration_batches, params.batch, params.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(params.seed)
            recalibrate(network, map(view, plain))
    return run


def _model(network: nn.Module, view: View, everything: bool) -> Any:
    def model(images_NCHW: Tensor) -> Tensor:
        out: Tensor = network.train(everything)(view(images_NCHW))
        return out

    return model


def seed_each_step(learn: Learn, seed: int) -> Learn:
    """Wrap `learn` to seed torch's global generator in each step.

    Dropout and stochastic depth draw only from it, so a resumed run repeats their draws.
    """

    def again(step: int, batch: Batch) -> Outcome:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(((seed << 32) + step) % 2**63)
            return learn(step, batch)

    return again
