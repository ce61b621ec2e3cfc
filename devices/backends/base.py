"""What a backend is: one runtime that says what it can do, builds, opens and runs models.

Axes: N images (1 here), C channels, H height, W width, K classes.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from devices.device import Device, DeviceError
from devices.quantization import Activations

MODEL = "model"
"""Name, without ending, of every delivered model file."""


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do on this machine.

    Attributes:
        precisions: what it offers at all.
        builds_here: it can make deliverable files on this machine.
        runs_here: it can run them, and so measure them, on this machine.
        reason: why it cannot build or run, and the way out; empty if it can do both.
    """

    precisions: frozenset[str]
    builds_here: bool
    runs_here: bool
    reason: str = ""


@dataclass(frozen=True)
class Built:
    """Deliverable files in the folder they were built into.

    Attributes:
        files: their names.
        entry: the one that `open` takes.
        details: JSON values for the bundle's manifest: inputs, outputs, runtime, how to rebuild.
    """

    files: tuple[str, ...]
    entry: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Session(ABC):
    """A model loaded into its runtime; also a context manager that closes it."""

    @abstractmethod
    def __call__(self, images_1CHW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One normalised image (1, C, H, W) to logits (1, K)."""

    @abstractmethod
    def close(self) -> None:
        """Free what the runtime holds; the session cannot be used afterwards."""

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """The image's shape, (1, C, H, W)."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Backend(ABC):
    """One runtime. Heavy imports happen inside its methods, so asking costs nothing."""

    name: ClassVar[str]
    runtime: ClassVar[str]
    """The runtime's name as people write it."""
    package: ClassVar[str]
    """The Python package of the runtime."""
    install_hint: ClassVar[str]
    """The command that installs the runtime."""
    activations: ClassVar[Activations]
    """The family of int8 files it wants; see devices.quantization."""
    native_precisions: ClassVar[tuple[str, ...]]
    """Precisions worth building for a device that asks for `auto`, float32 first."""

    def capabilities(self) -> Capabilities:
        """What this backend can do on this machine."""
        precisions = frozenset(self.native_precisions)
        if importlib.util.find_spec(self.package) is None:
            reason = f"{self.runtime} is not installed. Install it: {self.install_hint}."
            return Capabilities(precisions, builds_here=False, runs_here=False, reason=reason)
        return Capabilities(precisions, builds_here=True, runs_here=True)

    def version(self) -> str:
        """The installed runtime's version, or `not installed`."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    def why_not_measured(self, device: Device) -> str:
        """Why this machine cannot measure the device's latency; empty if it can."""
        here = self.capabilities()
        return "" if here.runs_here else here.reason

    def check(self, device: Device) -> None:
        """Refuse settings that do not suit this runtime or this machine.

        Raises:
            DeviceError: the runtime is missing, a setting is not for it, or nothing here can
                say whether the device's only budget is kept.
        """
        here = self.capabilities()
        if not here.builds_here:
            raise DeviceError(f"backend '{self.name}': {here.reason}")
        if device.precision != "auto" and device.precision not in here.precisions:
            offered = ", ".join(["auto", *self.native_precisions])
            raise DeviceError(
                f"precision: {self.runtime} does not offer '{device.precision}' (use {offered})."
            )
        self.check_capabilities(device)
        budget = device.budget
        unmeasured = self.why_not_measured(device)
        if unmeasured and budget.latency_ms is not None and budget.flops is None:
            raise DeviceError(
                "budget: latency_ms cannot be searched for where latency cannot be measured. "
                f"{unmeasured} Add a budget of flops, or run where the device is."
            )

    def check_capabilities(self, device: Device) -> None:
        """Refuse `compute_capabilities`, unless the backend knows what they are.

        Raises:
            DeviceError: the device names some.
        """
        if device.compute_capabilities:
            raise DeviceError(
                f"compute_capabilities: only for backend 'tensorrt'; remove it for '{self.name}'."
            )

    @abstractmethod
    def build(self, onnx_model: Path, precision: str, folder: Path, device: Device) -> Built:
        """Make the deliverable from an ONNX file that already has this precision.

        Args:
            onnx_model: made by the exporter, and by devices.quantization if not float32.
            precision: one of `capabilities().precisions`.
            folder: where the files go; it must exist.
            device: whose settings count.

        Raises:
            DeviceError: the settings do not suit, or the runtime refuses the model; the message
                carries the runtime's own.
        """

    @abstractmethod
    def open(self, entry: Path, threads: int) -> Session:
        """Load a built entry file, or a plain ONNX file, ready to run.

        Raises:
            DeviceError: the runtime cannot load it.
        """

    def start_build(self, onnx_model: Path, precision: str, device: Device) -> dict[str, Any]:
        """What every build begins with: checks, then the details every deliverable records.

        Raises:
            DeviceError: the settings do not suit, or the file has another precision.
        """
        self.check(device)
        if precision not in self.capabilities().precisions:
            raise DeviceError(f"{self.runtime} does not offer precision '{precision}'.")
        details, found = describe(onnx_model)
        if found != precision:
            raise DeviceError(
                f"{onnx_model.name} is a {found} model, not {precision}; convert it with "
                "devices.quantization first."
            )
        return {**details, "runtime": self.runtime, "runtime_version": self.version()}


def describe(onnx_model: Path) -> tuple[dict[str, Any], str]:
    """Inputs, outputs and opset of an ONNX file, and the precision it computes in.

    Raises:
        DeviceError: the file is not an ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(onnx_model)
    except (DecodeError, OSError) as error:
        raise DeviceError(f"{onnx_model} is not a readable ONNX model: {error}") from error
    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    kinds = {weight.data_type for weight in graph.initializer}
    precision = "float32"
    if any(node.op_type == "QuantizeLinear" for node in graph.node):
        precision = "int8"
    elif onnx.TensorProto.FLOAT16 in kinds:
        precision = "float16"
    details = {
        "inputs": [_describe_value(v) for v in graph.input if v.name not in weights],
        "outputs": [_describe_value(v) for v in graph.output],
        "opset": max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
    }
    return details, precision


def _describe_value(value: Any) -> dict[str, Any]:
    import onnx

    tensor = value.type.tensor_type
    return {
        "name": value.name,
        "shape": [axis.dim_value for axis in tensor.shape.dim],
        "type": onnx.TensorProto.DataType.Name(tensor.elem_type).lower(),
    }
