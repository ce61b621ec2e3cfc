"""Interface of backends: capabilities of a runtime; building, loading and running models.

Axes: N images (1), C channels, H height, W width, K classes.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from devices.device import (
    CPU,
    OWN_FIELDS,
    Activations,
    Device,
    DeviceError,
    Precision,
    WeightBits,
)
from devices.runtimes.onnx_file import describe, require_activations
from devices.runtimes.session import Session, SessionError

MODEL = "model"
"""Stem of every delivered model file."""


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do with deliverable files on this machine."""

    can_build: bool = True
    can_run: bool = True
    """Possibly emulated."""
    can_measure: bool = True
    """Not if emulated."""
    reason: str = ""
    """Why one of the three is False, and the fix."""


@dataclass(frozen=True)
class Built:
    """Names of the files that `build` wrote."""

    files: tuple[str, ...]
    entry: str
    """The file for `open`."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON values for the bundle's manifest: inputs, outputs, runtime, rebuild notes."""


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

        On the device's machine, see `devices.measure.fingerprint`; None: not known.
        """
        return 8

    def for_unit(self, unit: str) -> Backend:
        """This backend for a compute unit, by the runtime's name of it."""
        return self

    def capabilities(self) -> Capabilities:
        """Capabilities on this machine."""
        if importlib.util.find_spec(self.package) is None:
            reason = f"{self.runtime} is not installed. Install it: {self.install_hint}."
            return Capabilities(False, False, False, reason)
        return Capabilities()

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
        for key, owner in OWN_FIELDS.items():
            if owner != self.name and getattr(device, key) != Device.model_fields[key].default:
                raise DeviceError(
                    f"{key}: only for backend '{owner}'; remove it for '{self.name}'."
                )
        here = self.capabilities()
        if not here.can_build:
            raise DeviceError(f"backend '{self.name}': {here.reason}")
        if device.precision not in ("auto", *self.native_precisions):
            offered = ", ".join(["auto", *self.native_precisions])
            raise DeviceError(
                f"precision: {self.runtime} does not support '{device.precision}' (use {offered})."
            )
        self.check_hardware(device)
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

    def check_hardware(self, device: Device) -> None:  # noqa: B027 - most runtimes have none
        """Check the device's hardware generations or compute unit, if the runtime has any.

        Raises:
            DeviceError: they are missing, unknown, or do not support the precision.
        """

    def require_generations(
        self, key: str, names: Sequence[str], known: Sequence[str], hint: str = ""
    ) -> None:
        """Check a list of hardware generations to build for, the setting `key`.

        Raises:
            DeviceError: it is empty, or has unknown or repeated names.
        """
        listed = f"Known: {', '.join(known)}."
        if not names:
            raise DeviceError(
                f"{key}: backend '{self.name}' needs the hardware generations to build for, such "
                f"as [{known[-1]}]. {listed}"
            )
        if unknown := [name for name in names if name not in known]:
            raise DeviceError(f"{key}: cannot build for {', '.join(unknown)}. {listed}{hint}")
        if len(set(names)) != len(names):
            raise DeviceError(f"{key}: remove duplicates: {', '.join(names)}.")

    @abstractmethod
    def build(self, onnx_model: Path, precision: str, folder: Path, device: Device) -> Built:
        """Build the deliverable in `folder` from an ONNX file that already has this precision.

        Raises:
            DeviceError: the settings are invalid, or the runtime rejects the model; with the
                message of the runtime.
        """

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
        with tempfile.TemporaryDirectory() as scratch, device_errors():
            return self.session(self.loadable(entry, Path(scratch)), threads, self.unit)

    def loadable(self, entry: Path, scratch: Path) -> Path:
        """The file that the runtime loads for `entry`."""
        return entry

    def start_build(self, onnx_model: Path, precision: str, device: Device) -> dict[str, Any]:
        """Validate the inputs of `build` and collect the details common to all backends.

        Raises:
            DeviceError: the settings are invalid, or the file has another precision.
        """
        self.check(device)
        if precision not in self.native_precisions:
            raise DeviceError(f"{self.runtime} does not support precision '{precision}'.")
        details, found = describe(onnx_model)
        if found != precision:
            raise DeviceError(
                f"{onnx_model.name} is a {found} model, not {precision}; convert it with "
                "devices.quantize.static first."
            )
        return {**details, "runtime": self.runtime, "runtime_version": self.version()}


class ConvertingBackend(Backend):
    """A runtime that does not load ONNX files, but one file that is converted from them."""

    opens_onnx = False

    @abstractmethod
    def convert(self, onnx_model: Path, precision: str) -> tuple[bytes, dict[str, Any]]:
        """The content of the file, and details for the manifest.

        Raises:
            DeviceError: the runtime rejects the model.
        """

    def build(self, onnx_model: Path, precision: str, folder: Path, device: Device) -> Built:
        """Convert the ONNX file; reproducible for the same file and versions."""
        details = self.start_build(onnx_model, precision, device)
        if precision == "int8":
            require_activations(onnx_model, self.activations)
        content, more = self.convert(onnx_model, precision)
        entry = f"{MODEL}{self.suffix}"
        with staged(folder) as work:
            (work / entry).write_bytes(content)
            if not self.why_not_run(device):
                with device_errors(), self.open(work / entry, device.threads) as session:
                    # XNNPACK validates its graph only when it runs.
                    session(np.zeros(session.input_shape, np.float32))
        return Built((entry,), entry, details | more)

    def loadable(self, entry: Path, scratch: Path) -> Path:
        """The entry file, or the file that an ONNX file is converted to."""
        if entry.suffix != ".onnx":
            return entry
        file = scratch / f"{MODEL}{self.suffix}"
        file.write_bytes(self.convert(entry, describe(entry)[1])[0])
        return file


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


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Disable log messages up to WARNING, of converters."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
