"""Where a device's files are run and timed: on this machine, or on the device by its agent.

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

from devices.agent.runtimes import MISSING, RUNTIMES
from devices.agent_client import AgentClient, AgentError, Patience
from devices.backends import Backend, backend
from devices.backends.base import describe
from devices.device import Device
from devices.fingerprint import machine_state, session_state
from devices.measure import Measurement, Protocol, Row, in_one_clock, measure, on_quick_cores

Images = npt.NDArray[np.float32]
Logits = npt.NDArray[np.float32]
OnDone = Callable[[str], None]
_IMAGES_PER_JOB = 1000


class Bench(ABC):
    """One device's place to run and to time.

    Attributes:
        why_not_run: why nothing can be run; empty if it can.
        why_not_measured: why nothing can be timed; empty if it can.
        runtime: what runs there, for people to read.
    """

    why_not_run: str
    why_not_measured: str
    runtime: str

    @abstractmethod
    def machine(self) -> dict[str, Any]:
        """What the files run on; see devices.fingerprint."""

    @abstractmethod
    def measure(
        self,
        models: Mapping[str, Path],
        reference: Path,
        protocol: Protocol,
        on_done: OnDone | None = None,
        quick_ms: float | None = None,
    ) -> dict[str, Measurement]:
        """Measure models against a reference; see devices.measure.

        Args:
            models: files by a name of the caller's choice.
            reference: what each is compared with.
            protocol: how carefully.
            on_done: called with each model's name as it is done.
            quick_ms: what the reference is known to take there, in milliseconds.

        Raises:
            MeasurementError: a model cannot be opened.
            AgentError: the device's agent cannot be used.
        """

    @abstractmethod
    def outputs(self, entry: Path, images: Iterable[Images], threads: int = 1) -> Logits:
        """Logits (N, K) of a file for N images, each (1, C, H, W), run one by one.

        Raises:
            DeviceError: the file cannot be opened, or the device's agent cannot be used.
        """


class HereBench(Bench):
    """This machine, for a device that is this machine, or is nowhere to be reached."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._backend = backend(device.backend).on(device.openvino_device)
        self.why_not_run = self._backend.why_not_run(device)
        self.why_not_measured = self._backend.why_not_measured(device)
        self.runtime = self._backend.runtime
        if device.table is not None:
            self.why_not_measured = (
                f"the device is elsewhere: its latency table was imported from {device.table.file}."
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
        quick_ms: float | None = None,
    ) -> dict[str, Measurement]:
        """Measure each model in a process of its own."""
        with ready(self._backend, self._device, [*models.values(), reference]) as files:
            return measure(
                self._backend.name,
                {label: files[model] for label, model in models.items()},
                files[reference],
                self._device.threads,
                protocol,
                on_done,
                self._device.openvino_device,
                quick_ms,
            )

    def outputs(self, entry: Path, images: Iterable[Images], threads: int = 1) -> Logits:
        """Run the images in this process."""
        with self._backend.open(entry, threads) as session:
            return np.concatenate([session(image_1CHW) for image_1CHW in images])


class AgentBench(Bench):
    """The device itself, by the agent that runs there."""

    why_not_run = why_not_measured = ""

    def __init__(self, client: AgentClient, device: Device) -> None:
        self._client, self._device = client, device
        self._backend = backend(device.backend)
        self.runtime = f"{self._backend.runtime} on '{client.name}'"

    def machine(self) -> dict[str, Any]:
        """The device, as its agent describes it."""
        state = self._client.machine(self._backend.name)
        return {**state, **session_state(self._device.threads, self._device.openvino_device)}

    def measure(
        self,
        models: Mapping[str, Path],
        reference: Path,
        protocol: Protocol,
        on_done: OnDone | None = None,
        quick_ms: float | None = None,
    ) -> dict[str, Measurement]:
        """Send the models one by one."""
        with ready(self._backend, self._device, [*models.values(), reference]) as files:
            known = files_of(files[reference], "reference-")

            def once(labels: Sequence[str]) -> Iterator[tuple[str, Row]]:
                for label in labels:
                    yield (
                        label,
                        self._client.measure(
                            label,
                            self._backend.name,
                            files_of(files[models[label]]),
                            known,
                            self._device.threads,
                            protocol,
                            self._device.openvino_device,
                        ),
                    )

            return in_one_clock(on_quick_cores(list(models), once, on_done, quick_ms))

    def outputs(self, entry: Path, images: Iterable[Images], threads: int = 1) -> Logits:
        """Send the file with some images at a time."""
        rows, pending = [], iter(images)
        with ready(self._backend, self._device, [entry]) as files:
            model = files_of(files[entry])
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


def bench_of(name: str, device: Device, patience: Patience | None = None) -> Bench:
    """The bench that a device's settings ask for.

    Raises:
        DeviceError: there is no such backend, the agent has no such runtime, or its token is
            not in the environment.
    """
    backend(device.backend).on(device.openvino_device)
    if device.agent is None:
        return HereBench(device)
    if device.backend not in RUNTIMES:
        raise AgentError(
            f"devices.{name}.agent: the agent runs {', '.join(sorted(RUNTIMES))} and not "
            f"'{device.backend}': {MISSING[device.backend]} would be needed. Measure on the device "
            f"by other means and import the table: netwright profile {name} --export-models FOLDER "
            "says what is wanted, --import TABLE.csv takes it."
        )
    variable = device.agent_token_env
    patience = patience or Patience(vanished_s=device.agent_patience_s)
    return AgentBench(AgentClient.from_environment(name, device.agent, variable, patience), device)


@contextmanager
def ready(runtime: Backend, device: Device, models: Iterable[Path]) -> Iterator[dict[Path, Path]]:
    """Files that the runtime opens as they are, by the given ones.

    What would be converted anew in each process that opens it is built once.
    """
    with tempfile.TemporaryDirectory(prefix="netwright-bench-") as name:
        found: dict[Path, Path] = {}
        for number, model in enumerate(dict.fromkeys(models)):
            found[model] = opened_as_it_is(runtime, device, model, Path(name) / str(number))
        yield found


def opened_as_it_is(runtime: Backend, device: Device, model: Path, folder: Path) -> Path:
    """The model, or what is built from it into a new folder where the runtime opens no ONNX.

    Raises:
        DeviceError: the runtime refuses the model.
    """
    if runtime.opens_onnx or model.suffix != ".onnx":
        return model
    folder.mkdir()
    return folder / runtime.build(model, describe(model)[1], folder, device).entry


def files_of(entry: Path, prefix: str = "") -> dict[str, Path]:
    """A model's files by name, the one to open first: a form may have several of one stem."""
    others = sorted(p for p in entry.parent.glob(f"{entry.stem}.*") if p != entry and p.is_file())
    return {f"{prefix}{path.name}": path for path in (entry, *others)}
