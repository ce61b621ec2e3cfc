"""Interface of backends: capabilities of a runtime; building, loading and running models.

Axes: N images (1), C channels, H height, W width, K classes.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from devices.device import (
    CPU,
    GENERATION_FIELDS,
    Activations,
    Device,
    DeviceError,
    Precision,
    WeightBits,
)
from devices.runtimes.onnx_file import describe
from devices.runtimes.session import Session, SessionError

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


class Backend(ABC):
    """One runtime. Heavy imports happen inside methods, so that importing a backend is cheap."""

    name: ClassVar[str]
    session: ClassVar[type[Session]]
    """The runtime's session, which opens built files."""
    install_hint: ClassVar[str]
    """Command that installs the runtime."""
    activations: ClassVar[Activations]
    """Quantisation scheme of its int8 files; see devices.quantize.static."""
    suffix: ClassVar[str] = ".onnx"
    """Suffix of the built entry file."""
    opens_onnx: ClassVar[bool] = True
    """Whether the runtime loads ONNX files; False if `open` converts them, which takes seconds."""
    native_precisions: ClassVar[tuple[Precision, ...]]
    """Precision candidates for `auto`; the first is used if latency is not measured."""
    unit = CPU
    """Compute unit of the sessions, by the runtime's name of it."""

    @property
    def runtime(self) -> str:
        """Display name of the runtime."""
        return self.session.runtime

    @property
    def package(self) -> str:
        """The Python package of the runtime."""
        return self.session.package

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

    def convert(self, onnx_model: Path) -> bytes:
        """Convert an ONNX file to an entry file for this machine; itself, if `opens_onnx`.

        Raises:
            DeviceError: the runtime rejects the model.
        """
        return onnx_model.read_bytes()

    def open(self, entry: Path, threads: int) -> Session:
        """Load a built entry file, or an ONNX file.

        Raises:
            DeviceError: the runtime cannot load it.
        """
        here = self.capabilities()
        if not here.can_run:
            raise DeviceError(f"{entry} cannot be run here. {here.reason}")
        if not entry.is_file():
            raise DeviceError(f"{entry}: no such file.")
        if self.opens_onnx or entry.suffix != ".onnx":
            with device_errors():
                return self.session(entry, threads, self.unit)
        with tempfile.TemporaryDirectory() as name, device_errors():
            file = Path(name) / f"{MODEL}{self.suffix}"
            file.write_bytes(self.convert(entry))
            return self.session(file, threads, self.unit)

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


@contextmanager
def device_errors() -> Iterator[None]:
    """Raise the errors of sessions as `DeviceError`."""
    try:
        yield
    except SessionError as error:
        raise DeviceError(str(error)) from error


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files move to `folder`, unless a check of them fails."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield Path(name)
        for file in sorted(Path(name).iterdir()):
            file.replace(folder / file.name)
