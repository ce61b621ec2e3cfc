"""Params of the teacher stage."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.settings import Params, nearest
from models.training.learning import NetworkParams
from models.training.teachers import torchvision


class TorchvisionParams(Params):
    """One of torchvision's classifiers; its weights are `teacher.file`."""

    name: str = "resnet18"
    """Its name in torchvision, such as resnet18."""
    fine_tune: bool = False
    """Whether all layers are trained for `epochs`. Otherwise only a replaced last layer is trained,
    and a network with the right number of classes is used unchanged."""


class InputParams(Params):
    """Input of an external teacher."""

    pixels: int | None = Field(None, ge=1)
    """Height and width; null: from its ONNX file, else the data set's image size."""
    mean: tuple[float, ...] | None = Field(None, strict=False)
    """Normalisation mean per channel; null (together with std): the data set's own."""
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(None, strict=False)
    """Normalisation standard deviation per channel."""

    @model_validator(mode="after")
    def _both(self) -> Self:
        pair = [values for values in (self.mean, self.std) if values is not None]
        if len(pair) == 1 or len({len(values) for values in pair}) > 1:
            raise ValueError("mean and std: give both, with as many numbers, or neither")
        return self


class TeacherParams(NetworkParams):
    """Which teacher, and how it is trained."""

    checkpoint_every: int = Field(100, ge=1)
    """Steps between two checkpoints."""
    source: Literal["space", "torchvision", "onnx"] = "space"
    """The space's largest network, one of torchvision's, or an ONNX file."""
    file: str = Field("stages/teacher/README.md", min_length=1)
    """Weights for `torchvision` or the network for `onnx`, relative to the repository root; `space`
    does not read it. It must always name a file, because it is a DVC dependency."""
    torchvision: TorchvisionParams = TorchvisionParams()
    """Settings of that source."""
    input: InputParams = InputParams()
    """The teacher's input; `space` does not read it."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.source == "torchvision":  # listing its networks takes a second
            known, name = torchvision.names(), self.torchvision.name
            if name not in known:
                raise ValueError(
                    f"torchvision.name: torchvision has no classifier '{name}'."
                    f"{nearest(name, known)}"
                )
        return self
