"""Talking to a device's agent: send models, get timings and outputs, and survive its absence.

A connection that breaks is tried again until `Patience.vanished_s` have passed without an answer.
An agent that was restarted in the meantime does not know the job any more, and gets it again.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.agent.jobs import SCHEMA
from devices.device import CPU, DeviceError
from devices.measure import MEASURED, MeasurementError, Protocol

_UNKNOWN, _FULL, _REFUSED = 404, 503, 401


class AgentError(DeviceError):
    """An agent that cannot be used; the message names the device, its address and the way out."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for what.

    Attributes:
        request_s: for an answer to one request.
        vanished_s: for an agent that does not answer at all.
        busy_s: for a place in its queue, and for its turn.
        job_s: for one job to be done.
        submissions: how often a job is sent to an agent that forgets it by being restarted.
    """

    request_s: float = 60.0
    vanished_s: float = 60.0
    busy_s: float = 1800.0
    job_s: float = 300.0
    submissions: int = 3


class AgentClient:
    """The agent of one device.

    Args:
        name: the device's name, for messages.
        address: `host:port`.
        token: the agent's.
        patience: how long to wait.
    """

    def __init__(
        self, name: str, address: str, token: str, patience: Patience | None = None
    ) -> None:
        self.name, self.address, self.patience = name, address, patience or Patience()
        self._token = token

    @classmethod
    def from_environment(
        cls, name: str, address: str, variable: str, patience: Patience | None = None
    ) -> AgentClient:
        """The agent at an address, with the token that an environment variable holds.

        Raises:
            AgentError: the variable is not set.
        """
        token = os.environ.get(variable, "").strip()
        if not token:
            raise AgentError(
                f"devices.{name}.agent: the agent at {address} wants its token, and the "
                f"environment variable {variable} is not set (devices.{name}.agent_token_env)."
            )
        return cls(name, address, token, patience)

    def machine(self, backend: str) -> dict[str, Any]:
        """What the device is; see devices.agent.machine.

        Raises:
            AgentError: the agent does not answer, or has no such runtime.
        """
        found = self._ask("GET", "/fingerprint", "its fingerprint")
        if found.get("schema") != SCHEMA:
            raise AgentError(
                f"devices.{self.name}: the agent at {self.address} speaks {found.get('schema')!r} "
                f"and this version {SCHEMA!r}. Copy a new one there: netwright agent --write FILE."
            )
        runtimes = dict(found.get("runtimes", {}))
        if backend not in runtimes:
            raise AgentError(
                f"devices.{self.name}: the agent at {self.address} does not know backend "
                f"'{backend}'; it has {', '.join(sorted(runtimes))}."
            )
        state: dict[str, Any] = runtimes[backend]
        if state["runtime_version"] == "not installed":
            raise AgentError(
                f"devices.{self.name}: {state['runtime']} is not installed where the agent at "
                f"{self.address} runs. Install it there and start the agent again."
            )
        return state

    def measure(
        self,
        label: str,
        backend: str,
        model: Mapping[str, Path],
        reference: Mapping[str, Path],
        threads: int,
        protocol: Protocol,
        unit: str = CPU,
    ) -> dict[str, float]:
        """Measure one model against a reference; returns what `measure_against` does.

        Args:
            label: the model's name, for messages.
            backend: name in the backend table.
            model: its files by name, the one to open first.
            reference: likewise.
            threads: threads a session may use.
            protocol: how carefully.
            unit: of the device, by the runtime's name.

        Raises:
            AgentError: the agent cannot be used.
            MeasurementError: the device could not measure the model; the message is its own.
        """
        job = {
            **_job("measure", label, backend, model, threads, unit),
            "reference": next(iter(reference)),
            "protocol": asdict(protocol),
        }
        files = {name: path.read_bytes() for name, path in {**model, **reference}.items()}
        answer = self._do(job, files)
        return {key: float(answer[key]) for key in MEASURED}

    def run(
        self,
        label: str,
        backend: str,
        model: Mapping[str, Path],
        images_NCHW: Any,
        threads: int,
        unit: str = CPU,
    ) -> npt.NDArray[np.float32]:
        """Logits (N, K) of images (N, C, H, W), float32, run one by one on the device.

        Raises:
            AgentError: the agent cannot be used.
            MeasurementError: the device could not run the model; the message is its own.
        """
        job = {**_job("run", label, backend, model, threads, unit), "images": "images.bin"}
        raw = np.ascontiguousarray(images_NCHW, dtype="<f4").tobytes()
        files = {name: path.read_bytes() for name, path in model.items()}
        answer = self._do(job, {**files, "images.bin": raw})
        logits = np.frombuffer(base64.b64decode(answer["logits"], validate=True), dtype="<f4")
        return logits.reshape(answer["shape"]).astype(np.float32)

    def _do(self, job: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
        """Send a job, wait for its answer, and send it again to an agent that was restarted."""
        doing = f"'{job['label']}'"
        for _ in range(self.patience.submissions):
            identity = secrets.token_hex(16)
            listed = [
                {"name": n, "bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()}
                for n, b in files.items()
            ]
            whole = {**job, "schema": SCHEMA, "id": identity, "files": listed}
            whole["seconds"] = self.patience.job_s
            body = b"".join([json.dumps(whole).encode() + b"\n", *files.values()])
            self._check_room_for(body, doing)
            self._ask("POST", "/jobs", doing, body)
            answer = self._answer(identity, doing)
            if answer is None:
                continue
            if "error" in answer:
                raise MeasurementError(
                    f"the device '{self.name}' at {self.address} could not do {doing}: "
                    f"{answer['error']}"
                )
            return answer
        raise AgentError(
            f"the agent of '{self.name}' at {self.address} was restarted "
            f"{self.patience.submissions} times while it did {doing}. Does the device run out of "
            "memory or power? Its own terminal says more."
        )

    def _check_room_for(self, body: bytes, doing: str) -> None:
        most = int(self._ask("GET", "/health", doing)["megabytes"]) * 1_000_000
        if len(body) > most:
            raise AgentError(
                f"{doing} has {len(body):,} bytes, and the agent of '{self.name}' at "
                f"{self.address} takes {most:,} at once."
            )

    def _answer(self, identity: str, doing: str) -> dict[str, Any] | None:
        """A job's answer when it is done; None if the agent forgot the job."""
        path, until = f"/jobs/{identity}", time.monotonic() + self.patience.busy_s
        for pause in _pauses():
            try:
                found = self._ask("GET", path, doing, missing=None)
            except KeyboardInterrupt:
                self._ask("DELETE", path, doing)  # or the device would go on for nobody
                raise
            if found is None:
                return None
            if found["state"] == "done":
                answer: dict[str, Any] = found["answer"]
                return answer
            if time.monotonic() > until:
                raise AgentError(
                    f"the agent of '{self.name}' at {self.address} did not get to {doing} within "
                    f"{self.patience.busy_s:g} s: it is {found['state']}. Who else uses it?"
                )
            time.sleep(pause)
        raise AssertionError("pauses never end")

    def _ask(
        self, method: str, path: str, doing: str, body: bytes = b"", missing: Any = ...
    ) -> Any:
        """One request, tried again while the agent is away or has no room."""
        gone_since = busy_since = None
        for pause in _pauses():
            try:
                code, content = self._once(method, path, body)
            except (OSError, http.client.HTTPException, ValueError) as error:
                gone_since = gone_since or time.monotonic()
                if time.monotonic() - gone_since > self.patience.vanished_s:
                    raise self._vanished(doing, error) from error
                time.sleep(pause)
                continue
            gone_since = None
            if code < 300:
                return content
            if code == _UNKNOWN and missing is not ...:
                return missing
            busy_since = busy_since or time.monotonic()
            if code != _FULL or time.monotonic() - busy_since > self.patience.busy_s:
                raise self._refused(code, content, doing)
            time.sleep(pause)
        raise AssertionError("pauses never end")

    def _once(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        host, _, port = self.address.rpartition(":")
        connection = http.client.HTTPConnection(
            host.strip("[]"), int(port), timeout=self.patience.request_s
        )
        try:
            connection.request(
                method, path, body or None, {"Authorization": f"Bearer {self._token}"}
            )
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def _vanished(self, doing: str, error: Exception) -> AgentError:
        return AgentError(
            f"the device '{self.name}' does not answer at {self.address} "
            f"({type(error).__name__}: {error}), and did not for {self.patience.vanished_s:g} s; "
            f"it was asked for {doing}. Start the agent there (netwright agent --port "
            f"{self.address.rpartition(':')[2]}) and run again; no file was replaced."
        )

    def _refused(self, code: int, content: Any, doing: str) -> AgentError:
        said = content.get("error", content) if isinstance(content, dict) else content
        way_out = ""
        if code == _REFUSED:
            way_out = (
                f" Set the variable that devices.{self.name}.agent_token_env names to its token."
            )
        return AgentError(
            f"the agent of '{self.name}' at {self.address} refused {doing}: {said}{way_out}"
        )


def _job(
    kind: str, label: str, backend: str, model: Mapping[str, Path], threads: int, unit: str
) -> dict[str, Any]:
    """What every job says; the file to open is the first one."""
    what = {"kind": kind, "label": label, "backend": backend, "model": next(iter(model))}
    return {**what, "threads": threads, "unit": unit}


def _pauses() -> Iterator[float]:
    """Seconds between two questions: short ones first, because most jobs are short."""
    pause = 0.02
    while True:
        yield pause
        pause = min(pause * 1.5, 1.0)
