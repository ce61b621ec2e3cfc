"""Interface of backends: capabilities of a runtime; building, loading and running models.

Axes: N images (1), C channels, H height, W width, K classes.
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

from devices.device import (
    CPU,
    GENERATION_FIELDS,
    Activations,
    Device,
    DeviceError,
    Precision,
    WeightBits,
)

MODEL = "model"
"""Stem of every delivered model file."""


@dataclass(frozen=True)
class Capabilities:
    """Capabilities of a backend on this machine.

    Attributes:
        precisions: supported precisions.
        can_build: it can build deliverable files.
        can_run: it can run them, possibly emulated.
        can_measure: their latency on this machine is that of the device; not if emulated.
        reason: why one of the three is False, and the fix; empty if all are True.
    """

    precisions: frozenset[str]
    can_build: bool
    can_run: bool
    can_measure: bool
    reason: str = ""


@dataclass(frozen=True)
class Built:
    """Deliverable files in the output folder of `build`.

    Attributes:
        files: file names.
        entry: the file for `open`.
        details: JSON values for the bundle's manifest: inputs, outputs, runtime, rebuild notes.
    """

    files: tuple[str, ...]
    entry: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Session(ABC):
    """A model loaded into its runtime; a context manager that closes it."""

    @abstractmethod
    def __call__(self, images_1CHW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run one normalised image (1, C, H, W); returns logits (1, K)."""

    @abstractmethod
    def close(self) -> None:
        """Free the resources of the runtime."""

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Input shape (1, C, H, W)."""

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
    """One runtime. Heavy imports happen inside methods, so that importing a backend is cheap."""

    name: ClassVar[str]
    runtime: ClassVar[str]
    """Display name of the runtime."""
    package: ClassVar[str]
    """The Python package of the runtime."""
    install_hint: ClassVar[str]
    """Command that installs the runtime."""
    activations: ClassVar[Activations]
    """Quantisation scheme of its int8 files; see devices.quantize.static."""
    opens_onnx: ClassVar[bool] = True
    """Whether `open` loads ONNX files directly; False if it converts them, which takes seconds."""
    native_precisions: ClassVar[tuple[Precision, ...]]
    """Precision candidates for `auto`; the first is used if latency is not measured."""

    def weight_bits(self, machine: Mapping[str, Any] | None) -> WeightBits:
        """Bits of int8 weights that the runtime computes without saturation.

        Args:
            machine: machine of the device, see `devices.measure.fingerprint`; None: not known.
        """
        return 8

    def for_unit(self, unit: str) -> Backend:
        """This backend for a compute unit, by the runtime's name of it.

        Raises:
            DeviceError: the runtime has no such unit.
        """
        if unit != CPU:
            raise DeviceError(
                f"openvino_device: only for backend 'openvino'; remove it for '{self.name}'."
            )
        return self

    def capabilities(self) -> Capabilities:
        """Capabilities on this machine."""
        precisions = frozenset(self.native_precisions)
        if importlib.util.find_spec(self.package) is None:
            reason = f"{self.runtime} is not installed. Install it: {self.install_hint}."
            return Capabilities(precisions, False, False, False, reason)
        return Capabilities(precisions, can_build=True, can_run=True, can_measure=True)

    def version(self) -> str:
        """The installed runtime's version, or `not installed`."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    def why_not_run(self, device: Device) -> str:
        """Why this machine cannot run the device's models; empty if it can."""
        here = self.capabilities()
        return "" if here.can_run else here.reason

    def why_not_measured(self, device: Device) -> str:
        """Why this machine cannot measure the device's latency; empty if it can."""
        here = self.capabilities()
        return self.why_not_run(device) or ("" if here.can_measure else here.reason)

    def why_not_mixed(self, device: Device) -> str:
        """Why mixed precision (int8 with float layers) is not supported; empty if it is."""
        return ""

    def check(self, device: Device) -> None:
        """Validate the settings of a device against this runtime and this machine.

        Raises:
            DeviceError: the runtime is missing, a setting is not supported, or the only budget
                is latency and it cannot be measured.
        """
        here = self.capabilities()
        if not here.can_build:
            raise DeviceError(f"backend '{self.name}': {here.reason}")
        if device.precision != "auto" and device.precision not in here.precisions:
            offered = ", ".join(["auto", *self.native_precisions])
            raise DeviceError(
                f"precision: {self.runtime} does not support '{device.precision}' (use {offered})."
            )
        self.check_generations(device)
        budget = device.budget
        # Measured by an agent, or imported from a table.
        has_latency_source = device.agent is not None or device.table is not None
        unmeasured = "" if has_latency_source else self.why_not_measured(device)
        if unmeasured and budget.latency_key is not None and budget.flops is None:
            raise DeviceError(
                f"budget: {budget.latency_key} cannot be used, as latency cannot be measured. "
                f"{unmeasured} Add a budget of flops, run on the device, or measure it there: by "
                "its agent, or with netwright profile NAME --export-models."
            )

    def check_generations(self, device: Device) -> None:
        """Check that hardware generations are only set for their backend.

        Raises:
            DeviceError: they are set for another backend.
        """
        for key, owner in GENERATION_FIELDS.items():
            if owner != self.name and getattr(device, key):
                raise DeviceError(
                    f"{key}: only for backend '{owner}'; remove it for '{self.name}'."
                )
        self.for_unit(device.openvino_device)

    @abstractmethod
    def build(self, onnx_model: Path, precision: str, folder: Path, device: Device) -> Built:
        """Build the deliverable from an ONNX file that already has this precision.

        Args:
            onnx_model: written by the exporter, and by devices.quantize.static if not float32.
            precision: one of `capabilities().precisions`.
            folder: existing output folder.
            device: settings of the device.

        Raises:
            DeviceError: the settings are invalid, or the runtime rejects the model; with the
                message of the runtime.
        """

    @abstractmethod
    def open(self, entry: Path, threads: int) -> Session:
        """Load a built entry file, or an ONNX file.

        Raises:
            DeviceError: the runtime cannot load it.
        """

    def start_build(self, onnx_model: Path, precision: str, device: Device) -> dict[str, Any]:
        """Validate the inputs of `build` and collect the details common to all backends.

        Raises:
            DeviceError: the settings are invalid, or the file has another precision.
        """
        self.check(device)
        if precision not in self.capabilities().precisions:
            raise DeviceError(f"{self.runtime} does not support precision '{precision}'.")
        details, found = describe(onnx_model)
        if found != precision:
            raise DeviceError(
                f"{onnx_model.name} is a {found} model, not {precision}; convert it with "
                "devices.quantize.static first."
            )
        return {**details, "runtime": self.runtime, "runtime_version": self.version()}


def describe(onnx_model: Path) -> tuple[dict[str, Any], str]:
    """Inputs, outputs and opset of an ONNX file, and its precision.

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
    # Weight-only quantisation has no QuantizeLinear.
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
    """Check that an int8 file has the quantisation scheme of the runtime.

    For runtimes that accept other schemes, but compute them wrongly.

    Args:
        onnx_model: a file in Q/DQ format.
        wanted: the scheme, see devices.quantize.static.

    Raises:
        DeviceError: an activation has a zero point of another type.
    """
    found = activation_types(onnx_model)
    if found - {wanted.partition("_")[0]}:
        raise DeviceError(
            f"{onnx_model.name} has {' and '.join(sorted(found))} activations, but this runtime "
            f"needs {wanted}: quantise it for '{wanted}' with devices.quantize.static."
        )


def activation_types(onnx_model: Path) -> set[str]:
    """Zero point types of a file's activations, such as `uint8`."""
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
