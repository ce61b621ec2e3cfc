"""Measurement targets of a device: this machine, or the device by its agent.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.device import Device, DeviceError
from devices.measure.agent.runtimes import RUNTIMES
from devices.measure.client import AgentClient, Timeouts
from devices.measure.fingerprint import machine_state, session_state
from devices.measure.interleaved import (
    Measurement,
    Protocol,
    Row,
    measure,
    measure_on_fast_cores,
    normalise_to_reference,
)
from devices.runtimes.base import Backend
from devices.runtimes.onnx_file import describe
from devices.runtimes.registry import backend

Images = npt.NDArray[np.float32]
Logits = npt.NDArray[np.float32]
OnDone = Callable[[str], None]
_IMAGES_PER_JOB = 1000


class Target(ABC):
    """Runs and measures the models of one device.

    Attributes:
        why_not_run: why models cannot be run; empty if they can.
        why_not_measured: why latency cannot be measured; empty if it can.
        runtime: display name of the runtime.
    """

    why_not_run: str
    why_not_measured: str
    runtime: str

    @abstractmethod
    def machine(self) -> dict[str, Any]:
        """The machine that runs the models; see devices.measure.fingerprint."""

    @abstractmethod
    def measure(
        self,
        models: Mapping[str, Path],
        reference: Path,
        protocol: Protocol,
        on_done: OnDone | None = None,
        expected_ms: float | None = None,
    ) -> dict[str, Measurement]:
        """Measure models against a reference; see devices.measure.interleaved.

        Args:
            models: files by label.
            reference: the reference network.
            protocol: settings of the measurement.
            on_done: called with the label of each measured model.
            expected_ms: known latency of the reference on the target, milliseconds.

        Raises:
            MeasurementError: a model cannot be opened.
            DeviceError: the device's agent cannot be used.
        """

    @abstractmethod
    def outputs(self, entry: Path, images: Iterable[Images], threads: int = 1) -> Logits:
        """Run N images, each (1, C, H, W), one by one; returns logits (N, K).

        Raises:
            DeviceError: the file cannot be opened, or the device's agent cannot be used.
        """


class LocalTarget(Target):
    """This machine, for a device without an agent."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._backend = backend(device.backend).for_unit(device.openvino_device)
        self.why_not_run = self._backend.why_not_run(device)
        self.why_not_measured = self._backend.why_not_measured(device)
        self.runtime = self._backend.runtime
        if device.table is not None:
            self.why_not_measured = (
                f"the device is offline: its latency table was imported from {device.table.file}."
            )

    def machine(self) -> dict[str, Any]:
        """This machine."""
        device = self._device
        return machine_state(device.backend, device.threads, device.openvino_device)

    def measure(
        self,
        models: Mapping[str, Path],
        reference: Path,
        protocol: Protocol,
        on_done: OnDone | None = None,
        expected_ms: float | None = None,
    ) -> dict[str, Measurement]:
        """Measure each model in its own process."""
        with prepare_models(self._backend, self._device, [*models.values(), reference]) as files:
            return measure(
                self._backend.name,
                {label: files[model] for label, model in models.items()},
                files[reference],
                self._device.threads,
                protocol,
                on_done,
                self._device.openvino_device,
                expected_ms,
            )

    def outputs(self, entry: Path, images: Iterable[Images], threads: int = 1) -> Logits:
        """Run the images in this process."""
        with self._backend.open(entry, threads) as session:
            return np.concatenate([session(image_1CHW) for image_1CHW in images])


class RemoteTarget(Target):
    """The device itself, by its agent."""

    why_not_run = why_not_measured = ""

    def __init__(self, client: AgentClient, device: Device) -> None:
        self._client, self._device = client, device
        self._backend = backend(device.backend)
        self.runtime = f"{self._backend.runtime} on '{client.name}'"

    def machine(self) -> dict[str, Any]:
        """The device, as described by its agent."""
        state = self._client.machine(self._backend.name)
        return {**state, **session_state(self._device.threads, self._device.openvino_device)}

    def measure(
        self,
        models: Mapping[str, Path],
        reference: Path,
        protocol: Protocol,
        on_done: OnDone | None = None,
        expected_ms: float | None = None,
    ) -> dict[str, Measurement]:
        """Send the models one by one."""
        with prepare_models(self._backend, self._device, [*models.values(), reference]) as files:
            known = model_files(files[reference], "reference-")

            def measure_once(labels: Sequence[str]) -> Iterator[tuple[str, Row]]:
                for label in labels:
                    yield (
                        label,
                        self._client.measure(
                            label,
                            self._backend.name,
                            model_files(files[models[label]]),
                            known,
                            self._device.threads,
                            protocol,
                            self._device.openvino_device,
                        ),
                    )

            return normalise_to_reference(
                measure_on_fast_cores(list(models), measure_once, on_done, expected_ms)
            )

    def outputs(self, entry: Path, images: Iterable[Images], threads: int = 1) -> Logits:
        """Send the file with batches of images."""
        rows, pending = [], iter(images)
        with prepare_models(self._backend, self._device, [entry]) as files:
            model = model_files(files[entry])
            while part := list(islice(pending, _IMAGES_PER_JOB)):
                images_NCHW = np.concatenate(part)
                rows.append(
                    self._client.run(
                        entry.name,
                        self._backend.name,
                        model,
                        images_NCHW,
                        threads,
                        self._device.openvino_device,
                    )
                )
        return np.concatenate(rows)


def open_target(name: str, device: Device, timeouts: Timeouts | None = None) -> Target:
    """Create the target of a device.

    Raises:
        DeviceError: the backend is unknown, the agent does not support it, or its token is not
            in the environment.
    """
    runtime = backend(device.backend).for_unit(device.openvino_device)
    if device.agent is None:
        return LocalTarget(device)
    if runtime.session.agent_needs:
        raise DeviceError(
            f"devices.{name}.agent: the agent runs {', '.join(sorted(RUNTIMES))}, not "
            f"'{device.backend}': it would need {runtime.session.agent_needs}. Measure on the "
            f"device by other means: netwright profile {name} --export-models FOLDER writes the "
            "models and the table to fill, --import TABLE.csv reads it."
        )
    variable = device.agent_token_env
    timeouts = timeouts or Timeouts(unreachable_s=device.agent_patience_s)
    return RemoteTarget(
        AgentClient.from_environment(name, device.agent, variable, timeouts), device
    )


@contextmanager
def prepare_models(
    runtime: Backend, device: Device, models: Iterable[Path]
) -> Iterator[dict[Path, Path]]:
    """Build models once if the runtime would convert them in each process; files by model."""
    with tempfile.TemporaryDirectory(prefix="netwright-bench-") as name:
        found: dict[Path, Path] = {}
        for number, model in enumerate(dict.fromkeys(models)):
            found[model] = build_if_needed(runtime, device, model, Path(name) / str(number))
        yield found


def build_if_needed(runtime: Backend, device: Device, model: Path, folder: Path) -> Path:
    """The model itself, or the entry built from it if the runtime does not load ONNX files.

    Raises:
        DeviceError: the runtime rejects the model.
    """
    if runtime.opens_onnx or model.suffix != ".onnx":
        return model
    folder.mkdir()
    return folder / runtime.build(model, describe(model)[1], folder, device).entry


def model_files(entry: Path, prefix: str = "") -> dict[str, Path]:
    """A model's files by name, the entry first: all files with the same stem."""
    others = sorted(p for p in entry.parent.glob(f"{entry.stem}.*") if p != entry and p.is_file())
    return {f"{prefix}{path.name}": path for path in (entry, *others)}
