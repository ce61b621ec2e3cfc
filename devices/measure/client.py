"""Client of a device's agent: sends models, receives latencies and outputs.

Failed requests are retried until the agent was unreachable for `Timeouts.unreachable_s`. A job
that is lost by a restart of the agent is submitted again.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.device import DeviceError
from devices.measure.agent.jobs import SCHEMA
from devices.measure.agent.protocol import MeasurementError

_UNKNOWN, _FULL, _REFUSED = 404, 503, 401


@dataclass(frozen=True)
class Timeouts:
    """Timeouts and retries of the client."""

    request_s: float = 60.0  # for the answer to one request
    unreachable_s: float = 60.0  # for an agent that does not answer
    busy_s: float = 1800.0  # for a slot in the queue, and for a queued job
    job_s: float = 300.0  # for one running job
    submissions: int = 3  # of one job, if the agent restarts


class AgentClient:
    """The agent of the device `name` at `address`, which is `host:port`."""

    def __init__(
        self, name: str, address: str, token: str, timeouts: Timeouts | None = None
    ) -> None:
        self.name, self.address, self.timeouts = name, address, timeouts or Timeouts()
        self._token = token
        self._agent = f"the agent of '{name}' at {address}"

    def machine(self, backend: str) -> dict[str, Any]:
        """Description of the device; see devices.measure.agent.machine.

        Raises:
            DeviceError: the agent is unreachable, or does not have the runtime.
        """
        found = self._request("GET", "/fingerprint", "its fingerprint")
        if found.get("schema") != SCHEMA:
            raise DeviceError(
                f"{self._agent} has schema {found.get('schema')!r}, this version {SCHEMA!r}. Copy "
                "a new agent there: netwright agent --write FILE."
            )
        runtimes = dict(found.get("runtimes", {}))
        if backend not in runtimes:
            raise DeviceError(
                f"{self._agent} does not support backend '{backend}'; it supports "
                f"{', '.join(sorted(runtimes))}."
            )
        state: dict[str, Any] = runtimes[backend]
        if state["runtime_version"] == "not installed":
            raise DeviceError(
                f"{state['runtime']} is not installed on the device of {self._agent}. Install it "
                "there and restart the agent."
            )
        return state

    def submit(self, job: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
        """Submit a job and wait for its answer; submits it again if the agent restarted.

        See devices.measure.agent.jobs; the schema, id, list of files and time limit are added.

        Raises:
            DeviceError: the agent cannot be used.
            MeasurementError: the job failed on the device; with its message.
        """
        task = f"'{job['label']}'"
        listed = [
            {"name": n, "bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()}
            for n, b in files.items()
        ]
        for _ in range(self.timeouts.submissions):
            identity = secrets.token_hex(16)
            added = {"id": identity, "files": listed, "seconds": self.timeouts.job_s}
            header = json.dumps({**job, "schema": SCHEMA, **added}).encode()
            body = b"".join([header + b"\n", *files.values()])
            self._check_size(body, task)
            self._request("POST", "/jobs", task, body)
            answer = self._answer(identity, task)
            if answer is None:
                continue
            if "error" in answer:
                raise MeasurementError(f"{self._agent} failed on {task}: {answer['error']}")
            return answer
        raise DeviceError(
            f"{self._agent} was restarted {self.timeouts.submissions} times during {task}. Check "
            "the device for lack of memory or power, and the output of the agent."
        )

    def _check_size(self, body: bytes, task: str) -> None:
        most = int(self._request("GET", "/health", task)["megabytes"]) * 1_000_000
        if len(body) > most:
            raise DeviceError(
                f"{task} has {len(body):,} bytes, but {self._agent} accepts at most {most:,} per "
                "request."
            )

    def _answer(self, identity: str, task: str) -> dict[str, Any] | None:
        """Poll a job until it is done; None if the agent does not know the job."""
        path, until = f"/jobs/{identity}", time.monotonic() + self.timeouts.busy_s
        for pause in _backoff():
            try:
                found = self._request("GET", path, task, missing=None)
            except KeyboardInterrupt:
                self._request("DELETE", path, task)  # stop the job on the device
                raise
            if found is None:
                return None
            if found["state"] == "done":
                answer: dict[str, Any] = found["answer"]
                return answer
            if time.monotonic() > until:
                raise DeviceError(
                    f"{self._agent} did not finish {task} within {self.timeouts.busy_s:g} s: it "
                    f"is {found['state']}. Stop its other clients."
                )
            time.sleep(pause)
        raise AssertionError("pauses never end")

    def _request(
        self, method: str, path: str, task: str, body: bytes = b"", missing: Any = ...
    ) -> Any:
        """Send a request; retries while the agent is unreachable or its queue is full."""
        unreachable_since = busy_since = None
        for pause in _backoff():
            try:
                code, content = self._send(method, path, body)
            except (OSError, http.client.HTTPException, ValueError) as error:
                unreachable_since = unreachable_since or time.monotonic()
                if time.monotonic() - unreachable_since > self.timeouts.unreachable_s:
                    raise self._unreachable_error(task, error) from error
                time.sleep(pause)
                continue
            unreachable_since = None
            if code < 300:
                return content
            if code == _UNKNOWN and missing is not ...:
                return missing
            busy_since = busy_since or time.monotonic()
            if code != _FULL or time.monotonic() - busy_since > self.timeouts.busy_s:
                raise self._refused_error(code, content, task)
            time.sleep(pause)
        raise AssertionError("pauses never end")

    def _send(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        host, _, port = self.address.rpartition(":")
        connection = http.client.HTTPConnection(
            host.strip("[]"), int(port), timeout=self.timeouts.request_s
        )
        try:
            connection.request(
                method, path, body or None, {"Authorization": f"Bearer {self._token}"}
            )
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def _unreachable_error(self, task: str, error: Exception) -> DeviceError:
        return DeviceError(
            f"the device '{self.name}' does not answer at {self.address} "
            f"({type(error).__name__}: {error}), for {self.timeouts.unreachable_s:g} s; the "
            f"request was {task}. Start the agent there (netwright agent --port "
            f"{self.address.rpartition(':')[2]}) and run again; no file was replaced."
        )

    def _refused_error(self, code: int, content: Any, task: str) -> DeviceError:
        reason = content.get("error", content) if isinstance(content, dict) else content
        fix = ""
        if code == _REFUSED:
            fix = f" Set the variable in devices.{self.name}.agent_token_env to its token."
        return DeviceError(f"{self._agent} refused {task}: {reason}{fix}")


def decode_logits(answer: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """The logits (N images, K classes) in the answer to a job that runs images."""
    logits = np.frombuffer(base64.b64decode(answer["logits"], validate=True), dtype="<f4")
    return logits.reshape(answer["shape"]).astype(np.float32)


def _backoff() -> Iterator[float]:
    """Seconds between requests: exponential backoff from 20 ms to 1 s."""
    pause = 0.02
    while True:
        yield pause
        pause = min(pause * 1.5, 1.0)
