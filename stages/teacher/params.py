"""Params of the teacher stage."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.teachers import torchvision
from stages.common.learning import NetworkParams
from stages.common.params import Params, nearest


class TorchvisionParams(Params):
    """One of torchvision's classifiers; its weights are `teacher.file`."""

    name: str = "resnet18"
    """torchvision's name of it, such as resnet18."""
    fine_tune: bool = False
    """Whether all of it is trained for `epochs`. Otherwise only a last layer for other classes
    is, and a network for as many classes is taken as it is."""


class InputParams(Params):
    """What images a teacher from elsewhere was trained on."""

    pixels: int | None = Field(None, ge=1)
    """Height and width; null: as its ONNX file says, else as the data set's images are."""
    mean: tuple[float, ...] | None = Field(None, strict=False)
    """By which its input was normalised, per channel; null, with std: by the data set's own."""
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(None, strict=False)
    """Likewise."""

    @model_validator(mode="after")
    def _both(self) -> Self:
        pair = [values for values in (self.mean, self.std) if values is not None]
        if len(pair) == 1 or len({len(values) for values in pair}) > 1:
            raise ValueError("mean and std: give both, with as many numbers, or neither")
        return self


class TeacherParams(NetworkParams):
    """Which teacher, and how it is trained where it is."""

    source: Literal["space", "torchvision", "onnx"] = "space"
    """The space's largest network, one of torchvision's, or an ONNX file."""
    file: str = Field("stages/teacher/README.md", min_length=1)
    """Weights for `torchvision` or the network for `onnx`, from the repository's root; `space`
    does not read it. It always names a file, because DVC has to watch one."""
    torchvision: TorchvisionParams = TorchvisionParams()
    """Settings of that source."""
    input: InputParams = InputParams()
    """What the teacher sees; `space` does not read it."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.source == "torchvision":  # to know its networks takes a second
            known, name = torchvision.names(), self.torchvision.name
            if name not in known:
                raise ValueError(
                    f"torchvision.name: torchvision has no classifier '{name}'."
                    f"{nearest(name, known)}"
                )
        return self
