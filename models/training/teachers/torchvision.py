"""torchvision classifiers with weights from a user-supplied file.

Weights are safetensors, or a state dict loaded by `torch.load(weights_only=True)`. Files are never
unpickled otherwise, because that can execute code.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import field_validator
from torch import Tensor, nn

from core.artifact import Rounded
from core.checkpoint import Checkpoint
from core.errors import UserError, nearest
from data.dataset import DatasetInfo
from data.stream import Batch
from models.nets.evaluate import recalibrate
from models.nets.pretrained.file import read_state
from models.nets.weights import load_into, to_bytes
from models.training.learning import Images, NetworkParams, learn_with_checkpoints
from models.training.loop import Run
from models.training.objective import Learn, Objective, Outcome, supervised_step
from models.training.teachers.base import (
    WEIGHTS,
    Inputs,
    OpenOnnx,
    Result,
    Source,
    Teacher,
    TeacherRecord,
)
from models.training.teachers.onnx import BATCH
from models.training.teachers.view import InputParams, TeacherInput, View

CHANNELS = 3
"""torchvision classifiers have RGB inputs."""
_ANY_CLASSES = 10
_COUNTERS = "num_batches_tracked"


class TorchvisionRecord(TeacherRecord):
    """One of torchvision's classifiers."""

    source: Literal["torchvision"] = "torchvision"
    name: str
    """Its name in torchvision."""
    input: TeacherInput
    parameters: int
    fine_tuned: bool
    """Whether all layers were trained."""
    new_layer: str | None
    """The layer that was replaced for other classes."""
    epochs: Rounded
    """None if it was not trained."""

    def load(self, folder: Path, info: DatasetInfo, threads: int, onnx: OpenOnnx) -> Teacher:
        """Load it in evaluation mode."""
        network = build(self.name, len(info.classes), seed=0)
        load_into(network, folder / WEIGHTS)
        return View(info.mean, info.std, self.input).before(network.eval())


class TorchvisionSource(Source):
    """One of torchvision's classifiers with the user's weights."""

    name: Literal["torchvision"] = "torchvision"
    network: str = "resnet18"
    """Its name in torchvision, such as resnet18; its weights are `teacher.file`."""
    fine_tune: bool = False
    """Whether all layers are trained for `epochs`. Otherwise only a replaced last layer is trained,
    and a network with the right number of classes is used unchanged."""
    input: InputParams = InputParams()
    """What it was trained on."""
    record_type: ClassVar[type[TeacherRecord]] = TorchvisionRecord

    @field_validator("network")
    @classmethod
    def _known(cls, network: str) -> str:
        from torchvision import models

        known = models.list_models(module=models)
        if network not in known:
            raise ValueError(f"torchvision has no classifier '{network}'.{nearest(network, known)}")
        return network

    @property
    def _input(self) -> TeacherInput:
        return TeacherInput(channels=CHANNELS, **self.input.model_dump())

    def check(self, file: Path, pixels: int, info: DatasetInfo | None, onnx: OpenOnnx) -> None:
        """Check weights and image size without running the network."""
        classes = _ANY_CLASSES if info is None else len(info.classes)
        network = build(self.network, classes, seed=0, device="meta")
        differing_layer(network.state_dict(), read_state(file, "teacher.file"), self.network, file)
        pixels = self.input.pixels or pixels
        try:
            network(torch.empty(1, CHANNELS, pixels, pixels, device="meta"))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise UserError(
                f"torchvision's '{self.network}' cannot read images of {pixels} by {pixels} pixels "
                f"({error}). Set teacher.source.input.pixels to the size it was trained on."
            ) from error
        if info is not None:
            View(info.mean, info.std, self._input)

    def teach(self, inputs: Inputs, params: NetworkParams, checkpoint: Checkpoint) -> Result:
        """Load it, and train it if needed."""
        info = inputs.images.info
        network, fresh_layer = load(self.network, len(info.classes), inputs.file, params.seed)
        view, run = View(info.mean, info.std, self._input), None
        if self.fine_tune or fresh_layer is not None:
            layer = None if self.fine_tune else fresh_layer
            run = fine_tune(network, layer, view, inputs.images, params, checkpoint)
        record = TorchvisionRecord(
            name=self.network,
            input=self._input,
            parameters=sum(p.numel() for p in network.parameters()),
            fine_tuned=self.fine_tune,
            new_layer=fresh_layer,
            epochs=None if run is None else run.recipe.epochs,
        )
        files = {WEIGHTS: to_bytes(network)}
        return Result(view.before(network.eval()), record, files, BATCH, run)


def fine_tune(
    network: nn.Module,
    layer: str | None,
    view: View,
    images: Images,
    params: NetworkParams,
    checkpoint: Checkpoint,
) -> Run:
    """Train a classifier in place: all layers, or only `layer`.

    Frozen layers also keep their batch norm statistics.
    """
    learning = network if layer is None else network.get_submodule(layer)
    network.requires_grad_(False)
    learning.requires_grad_(True)
    stream = images.stream(params)
    run = Run(network, params.recipe(stream.steps_per_epoch), learning.parameters())
    objective = Objective(len(images.info.classes), params.label_smoothing)

    def model(images_NCHW: Tensor) -> Tensor:
        out: Tensor = network.train(layer is None)(view(images_NCHW))
        return out

    learn = seed_each_step(supervised_step(model, objective, params.mixup), params.seed)
    learn_with_checkpoints("teacher", run, stream.at, learn, checkpoint)
    run.use_average()
    if layer is None:
        plain = images.calibration(params.recalibration_batches, params.batch, params.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(params.seed)
            recalibrate(network, map(view, plain))
    return run


def seed_each_step(learn: Learn, seed: int) -> Learn:
    """Wrap `learn` to seed torch's global generator in each step.

    Dropout and stochastic depth draw only from it, so a resumed run repeats their draws.
    """

    def again(step: int, batch: Batch) -> Outcome:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(((seed << 32) + step) % 2**63)
            return learn(step, batch)

    return again


class Loaded(NamedTuple):
    """A classifier for this data set's classes.

    Attributes:
        network: in evaluation mode.
        fresh_layer: name of the last layer if it was reinitialised for another number of classes;
            else None.
    """

    network: nn.Module
    fresh_layer: str | None


def build(name: str, classes: int, seed: int, device: str = "cpu") -> nn.Module:
    """Build a classifier with random weights, in evaluation mode; "meta" builds shapes alone.

    The state of torch's global generator is restored.
    """
    from torchvision.models import get_model

    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        network: nn.Module = get_model(name, weights=None, num_classes=classes)
    return network.eval()


def load(name: str, classes: int, file: Path, seed: int = 0) -> Loaded:
    """Load a classifier with the weights of a file.

    If the file has another number of classes, the last layer is reinitialised.

    Raises:
        UserError: the file cannot be read, or is of another model.
    """
    network = build(name, classes, seed)
    found = read_state(file, "teacher.file")
    fresh = differing_layer(network.state_dict(), found, name, file)
    if fresh is not None:
        found = {key: value for key, value in found.items() if key.rpartition(".")[0] != fresh}
    network.load_state_dict(found, strict=False)
    return Loaded(network, fresh)


def differing_layer(
    wanted: dict[str, Tensor], found: dict[str, Tensor], name: str, file: Path
) -> str | None:
    """The layer whose shape differs in the number of classes; None if all shapes match.

    Raises:
        UserError: names differ, or shapes of more than the last layer.
    """
    missing = [k for k in wanted if k not in found and not k.endswith(_COUNTERS)]
    unknown = [key for key in found if key not in wanted]
    if missing or unknown:
        raise UserError(
            f"{file} does not match torchvision's '{name}': {len(missing)} tensors are missing"
            f"{_some(missing)} and {len(unknown)} unknown{_some(unknown)}. "
            "Set teacher.source.network to the model of the weights."
        )
    other = [key for key in found if found[key].shape != wanted[key].shape]
    layers = {key.rpartition(".")[0] for key in other}
    only_classes = all(found[key].shape[1:] == wanted[key].shape[1:] for key in other)
    if len(layers) > 1 or not only_classes:
        raise UserError(
            f"{file} differs from torchvision's '{name}' in more than the classes of its last "
            f"layer{_some(other)}: use weights of an unmodified model."
        )
    return next(iter(layers), None)


def _some(keys: list[str]) -> str:
    return f" ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" if keys else ""
