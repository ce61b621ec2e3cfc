"""Measurement targets of a device: this machine, or the device by its agent.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.device import Device, DeviceError
from devices.measure.agent.machine import RUNTIMES
from devices.measure.client import AgentClient, Timeouts, decode_logits
from devices.measure.fingerprint import machine_state, session_state
from devices.measure.interleaved import (
    Measurement,
    OnDone,
    Protocol,
    measure_on_fast_cores,
    normalise_to_reference,
)
from devices.measure.worker import measure_once
from devices.runtimes.base import Backend
from devices.runtimes.onnx_file import describe
from devices.runtimes.registry import device_backend

Images = npt.NDArray[np.float32]
Logits = npt.NDArray[np.float32]
_IMAGES_PER_JOB = 1000


class Target(ABC):
    """Runs and measures the models of one device; `runtime` is the runtime's display name."""

    why_not_run = ""
    """Why models cannot be run; empty if they can."""
    why_not_measured = ""
    """Why latency cannot be measured; empty if it can."""

    def __init__(self, name: str, device: Device) -> None:
        self.name, self.device, self.backend = name, device, device_backend(device)
        self.runtime = self.backend.runtime

    @abstractmethod
    def machine(self) -> dict[str, Any]:
        """The machine that runs the models; see devices.measure.fingerprint."""

    @abstractmethod
    def measure_once(
        self, models: Mapping[str, Path], reference: Path, protocol: Protocol
    ) -> Iterator[tuple[str, Measurement]]:
        """Measure models that are ready for the runtime, one by one."""

    @abstractmethod
    def outputs(self, entry: Path, images: Iterable[Images], threads: int = 1) -> Logits:
        """Run N images, each (1, C, H, W), one by one; returns logits (N, K).

        Raises:
            DeviceError: the file cannot be opened, or the device's agent cannot be used.
        """

    def measure(
        self,
        models: Mapping[str, Path],
        reference: Path,
        protocol: Protocol,
        on_done: OnDone | None = None,
        expected_ms: float | None = None,
    ) -> dict[str, Measurement]:
        """Measure models, by label, against a reference; see devices.measure.interleaved.

        Raises:
            MeasurementError: a model cannot be opened.
            DeviceError: the device's agent cannot be used.
        """
        with prepare_models(self.backend, self.device, [*models.values(), reference]) as files:

            def once(labels: Sequence[str]) -> Iterator[tuple[str, Measurement]]:
                chosen = {label: files[models[label]] for label in labels}
                return self.measure_once(chosen, files[reference], protocol)

            return normalise_to_reference(
                measure_on_fast_cores(list(models), once, on_done, expected_ms)
            )


class LocalTarget(Target):
    """This machine, for a device without an agent."""

    def __init__(self, name: str, device: Device) -> None:
        super().__init__(name, device)
        self.why_not_run = self.backend.why_not_run(device)
        self.why_not_measured = self.backend.why_not_measured(device)
        if device.table is not None:
            self.why_not_measured = (
                f"the device is offline: its latency table was imported from {device.table.file}."
            )

    def machine(self) -> dict[str, Any]:
        """This machine."""
        device = self.device
        return machine_state(device.backend, device.threads, device.openvino_device)

    def measure_once(
        self, models: Mapping[str, Path], reference: Path, protocol: Protocol
    ) -> Iterator[tuple[str, Measurement]]:
        """Measure each model in its own process."""
        backend, unit = self.backend.name, self.device.openvino_device
        return measure_once(backend, unit, models, reference, self.device.threads, protocol)

    def outputs(self, entry: Path, images: Iterable[Images], threads: int = 1) -> Logits:
        """Run the images in this process."""
        with self.backend.open(entry, threads) as session:
            return np.concatenate([session(image_1CHW) for image_1CHW in images])


class RemoteTarget(Target):
    """The device itself, by its agent."""

    def __init__(self, client: AgentClient, device: Device) -> None:
        super().__init__(client.name, device)
        self._client = client
        self.runtime += f" on '{client.name}'"

    def machine(self) -> dict[str, Any]:
        """The device, as described by its agent."""
        state = self._client.machine(self.backend.name)
        return {**state, **session_state(self.device.threads, self.device.openvino_device)}

    def measure_once(
        self, models: Mapping[str, Path], reference: Path, protocol: Protocol
    ) -> Iterator[tuple[str, Measurement]]:
        """Send the models one by one, each with the reference."""
        known = _contents(reference, "reference-")
        for label, entry in models.items():
            files = _contents(entry)
            job = self._job("measure", label, files, self.device.threads)
            job |= {"reference": next(iter(known)), "protocol": asdict(protocol)}
            answer = self._client.submit(job, {**files, **known})
            yield label, Measurement(**{f.name: answer[f.name] for f in fields(Measurement)})

    def outputs(self, entry: Path, images: Iterable[Images], threads: int = 1) -> Logits:
        """Send the file with batches of images."""
        rows, pending = [], iter(images)
        with prepare_models(self.backend, self.device, [entry]) as prepared:
            files = _contents(prepared[entry])
            job = self._job("run", entry.name, files, threads) | {"images": "images.bin"}
            while part := list(islice(pending, _IMAGES_PER_JOB)):
                raw = np.concatenate(part).astype("<f4").tobytes()
                rows.append(decode_logits(self._client.submit(job, {**files, "images.bin": raw})))
        return np.concatenate(rows)

    def _job(
        self, kind: str, label: str, files: Mapping[str, bytes], threads: int
    ) -> dict[str, Any]:
        return {
            "kind": kind,
            "label": label,
            "backend": self.backend.name,
            "model": next(iter(files)),
            "threads": threads,
            "unit": self.device.openvino_device,
        }


def open_target(name: str, device: Device, timeouts: Timeouts | None = None) -> Target:
    """Create the target of a device.

    Raises:
        DeviceError: the backend is unknown, the agent does not support it, or its token is not
            in the environment.
    """
    runtime, address, variable = device_backend(device), device.agent, device.agent_token_env
    if address is None:
        return LocalTarget(name, device)
    if runtime.session.agent_needs:
        raise DeviceError(
            f"devices.{name}.agent: the agent runs {', '.join(sorted(RUNTIMES))}, not "
            f"'{device.backend}': it would need {runtime.session.agent_needs}. Measure on the "
            f"device by other means: netwright profile {name} --export-models FOLDER writes the "
            "models and the table to fill, --import TABLE.csv reads it."
        )
    token = os.environ.get(variable, "").strip()
    if not token:
        raise DeviceError(
            f"devices.{name}.agent: the agent at {address} needs its token, but the environment "
            f"variable {variable} is not set (devices.{name}.agent_token_env)."
        )
    timeouts = timeouts or Timeouts(unreachable_s=device.agent_patience_s)
    return RemoteTarget(AgentClient(name, address, token, timeouts), device)


@contextmanager
def prepare_models(
    runtime: Backend, device: Device, models: Iterable[Path]
) -> Iterator[dict[Path, Path]]:
    """Build models once if the runtime would convert them in each process; files by model."""
    with tempfile.TemporaryDirectory(prefix="netwright-bench-") as name:
        yield {
            model: build_if_needed(runtime, device, model, Path(name) / str(number))
            for number, model in enumerate(dict.fromkeys(models))
        }


def build_if_needed(runtime: Backend, device: Device, model: Path, folder: Path) -> Path:
    """The model itself, or the entry built from it if the runtime does not load ONNX files.

    Raises:
        DeviceError: the runtime rejects the model.
    """
    if runtime.opens_onnx or model.suffix != ".onnx":
        return model
    folder.mkdir()
    return folder / runtime.build(model, describe(model)[1], folder, device).entry


def _contents(entry: Path, prefix: str = "") -> dict[str, bytes]:
    """The files of a model by name, the entry first: all files with the same stem."""
    others = sorted(p for p in entry.parent.glob(f"{entry.stem}.*") if p != entry and p.is_file())
    return {f"{prefix}{path.name}": path.read_bytes() for path in (entry, *others)}
