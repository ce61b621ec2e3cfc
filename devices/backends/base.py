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

from devices.device import CPU, TARGETS, Device, DeviceError, Precision
from devices.quantization import Activations, WeightBits

MODEL = "model"
"""Name, without ending, of every delivered model file."""


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do on this machine.

    Attributes:
        precisions: what it offers at all.
        builds_here: it can make deliverable files on this machine.
        runs_here: it can run them on this machine, if only to see what they compute.
        measures_here: it runs them here as fast as the device does; an emulator does not.
        reason: why it cannot do one of the three, and the way out; empty if it can do all.
    """

    precisions: frozenset[str]
    builds_here: bool
    runs_here: bool
    measures_here: bool
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
    opens_onnx: ClassVar[bool] = True
    """Whether `open` takes ONNX files as they are; False where it converts them in seconds."""
    native_precisions: ClassVar[tuple[Precision, ...]]
    """Precisions worth building for a device that asks for `auto`.

    The first is what a device gets whose latency nobody measured: float32 wherever it is offered.
    """

    def weight_bits(self, machine: Mapping[str, Any] | None) -> WeightBits:
        """Bits of an int8 file's weights that this runtime computes exactly on a processor.

        Args:
            machine: what the device runs on, as `devices.fingerprint` has it; None: not known.
        """
        return 8

    def on(self, unit: str) -> Backend:
        """This backend for one of the units of a machine, by the runtime's name for it.

        Raises:
            DeviceError: the runtime has no such unit.
        """
        if unit != CPU:
            raise DeviceError(
                f"openvino_device: only for backend 'openvino'; remove it for '{self.name}'."
            )
        return self

    def capabilities(self) -> Capabilities:
        """What this backend can do on this machine."""
        precisions = frozenset(self.native_precisions)
        if importlib.util.find_spec(self.package) is None:
            reason = f"{self.runtime} is not installed. Install it: {self.install_hint}."
            return Capabilities(precisions, False, False, False, reason)
        return Capabilities(precisions, builds_here=True, runs_here=True, measures_here=True)

    def version(self) -> str:
        """The installed runtime's version, or `not installed`."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    def why_not_run(self, device: Device) -> str:
        """Why this machine cannot run what the device gets; empty if it can."""
        here = self.capabilities()
        return "" if here.runs_here else here.reason

    def why_not_measured(self, device: Device) -> str:
        """Why this machine cannot measure the device's latency; empty if it can."""
        here = self.capabilities()
        return self.why_not_run(device) or ("" if here.measures_here else here.reason)

    def why_not_mixed(self, device: Device) -> str:
        """Why the device cannot get an int8 file with some layers in float; empty if it can."""
        return ""

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
        self.check_targets(device)
        budget = device.budget
        # An agent measures it elsewhere; a table tells what somebody else has measured.
        known_elsewhere = device.agent is not None or device.table is not None
        unmeasured = "" if known_elsewhere else self.why_not_measured(device)
        if unmeasured and budget.latency_key is not None and budget.flops is None:
            raise DeviceError(
                f"budget: {budget.latency_key} cannot be searched for where latency cannot be "
                f"measured. {unmeasured} Add a budget of flops, run where the device is, or let "
                "it be measured there: by its agent, or with netwright profile NAME "
                "--export-models."
            )

    def check_targets(self, device: Device) -> None:
        """Refuse generations of hardware that are another backend's.

        Raises:
            DeviceError: the device names some.
        """
        for key, owner in TARGETS.items():
            if owner != self.name and getattr(device, key):
                raise DeviceError(
                    f"{key}: only for backend '{owner}'; remove it for '{self.name}'."
                )
        self.on(device.openvino_device)

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
    # Where only weights are quantised, nothing is but dequantised.
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.node):
        precision = "int8"
    elif onnx.TensorProto.FLOAT16 in kinds:
        precision = "float16"
    details = {
        "inputs": [_describe_value(v) for v in graph.input if v.name not in weights],
        "outputs": [_describe_value(v) for v in graph.output],
        "opset": max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
    }
    return details, precision


def require_activations(onnx_model: Path, wanted: Activations) -> None:
    """Refuse an int8 file that was quantised for another family of runtimes.

    For runtimes that accept such a file and compute something else than it says.

    Args:
        onnx_model: a file in Q/DQ form.
        wanted: the family, see devices.quantization.

    Raises:
        DeviceError: an activation has another type of zero point.
    """
    found = activation_types(onnx_model)
    if found - {wanted.partition("_")[0]}:
        raise DeviceError(
            f"{onnx_model.name} has {' and '.join(sorted(found))} activations, and this runtime "
            f"needs {wanted}: quantise it for '{wanted}' with devices.quantization."
        )


def activation_types(onnx_model: Path) -> set[str]:
    """Types of the zero points of a file's activations, such as `uint8`."""
    import onnx

    graph = onnx.load(onnx_model).graph
    kinds = {weight.name: weight.data_type for weight in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    # Without a zero point the type is uint8, as ONNX defines QuantizeLinear.
    types = {kinds[n.input[2]] if len(n.input) > 2 else onnx.TensorProto.UINT8 for n in nodes}
    return {onnx.TensorProto.DataType.Name(kind).lower() for kind in types}


def _describe_value(value: Any) -> dict[str, Any]:
    import onnx

    tensor = value.type.tensor_type
    return {
        "name": value.name,
        "shape": [axis.dim_value for axis in tensor.shape.dim],
        "type": onnx.TensorProto.DataType.Name(tensor.elem_type).lower(),
    }
