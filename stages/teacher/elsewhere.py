"""Teachers that a user brings: torchvision's classifiers with weights, and ONNX files."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from devices.agent.onnx_session import session_options
from models.batch import Batch
from models.evaluate import recalibrate
from models.teachers.onnx import OnnxTeacher
from models.teachers.torchvision import CHANNELS, Loaded, load
from models.teachers.view import View
from models.training import Learn, Objective, Outcome, Run, supervised
from models.weights import to_bytes
from stages.common.checkpoint import Checkpoint
from stages.common.learning import Images, learn_with_checkpoints
from stages.common.teachers import NETWORK, WEIGHTS, seeing, view_of
from stages.teacher.check import onnx_input
from stages.teacher.params import TeacherParams
from stages.teacher.source import Given, Taught

BATCH = 50
"""Images at once: networks from elsewhere may be large, and so may what they see."""


def from_onnx(given: Given, params: TeacherParams, _: Checkpoint) -> Taught:
    """A user's own ONNX classifier, as it is."""
    info = given.images.info
    teacher = OnnxTeacher(given.file, session_options(params.threads))
    wanted = onnx_input(teacher, given.file, params.input, info)
    summary = {
        "input": wanted,
        "outputs": "probabilities" if teacher.gives_probabilities else "logits",
    }
    look = view_of(info, wanted)
    return Taught(seeing(look, teacher), summary, {NETWORK: given.file.read_bytes()}, BATCH)


def from_torchvision(given: Given, params: TeacherParams, checkpoint: Checkpoint) -> Taught:
    """One of torchvision's classifiers with the user's weights, trained where that is needed."""
    images, settings = given.images, params.torchvision
    loaded = load(settings.name, len(images.info.classes), given.file, params.seed)
    wanted: dict[str, Any] = params.input.model_dump() | {"channels": CHANNELS}
    look = view_of(images.info, wanted)
    run = None
    if settings.fine_tune or loaded.fresh_layer is not None:
        run = fine_tune(loaded, look, images, params, checkpoint)
    network = loaded.network.eval()
    summary = {
        "name": settings.name,
        "input": wanted,
        "parameters": sum(p.numel() for p in network.parameters()),
        "fine_tuned": settings.fine_tune,
        "new_layer": loaded.fresh_layer,
        "epochs": None if run is None else params.epochs,
    }
    return Taught(seeing(look, network), summary, {WEIGHTS: to_bytes(network)}, BATCH, run)


def fine_tune(
    loaded: Loaded, look: View, images: Images, params: TeacherParams, checkpoint: Checkpoint
) -> Run:
    """Train a classifier on this data set, in place: all of it, or its new last layer.

    What is not trained keeps its batch norms' statistics too.
    """
    network, layer = loaded.network, loaded.fresh_layer
    everything = params.torchvision.fine_tune or layer is None
    learning = network if everything else network.get_submodule(str(layer))
    network.requires_grad_(False)
    learning.requires_grad_(True)
    stream = images.stream(params)
    run = Run(network, params.recipe(stream.steps_per_epoch), learning.parameters())
    objective = Objective(len(images.info.classes), params.label_smoothing)
    learn = supervised(_model(network, look, everything), objective, params.mixup)
    learn_with_checkpoints("teacher", run, stream.at, seeded(learn, params.seed), checkpoint)
    run.use_average()
    if everything:
        plain = images.calibration(params.recalibration_batches, params.batch, params.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(params.seed)
            recalibrate(network, map(look, plain))
    return run


def _model(network: nn.Module, look: View, everything: bool) -> Any:
    def model(images_NCHW: Tensor) -> Tensor:
        out: Tensor = network.train(everything)(look(images_NCHW))
        return out

    return model


def seeded(learn: Learn, seed: int) -> Learn:
    """The same, with torch's global generator set for each step.

    Dropout and stochastic depth draw from nothing else; so a resumed run repeats their draws.
    """

    def again(step: int, batch: Batch) -> Outcome:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(((seed << 32) + step) % 2**63)
            return learn(step, batch)

    return again
