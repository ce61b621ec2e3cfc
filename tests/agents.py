"""A device agent in a second process, for tests of its clients."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devices.measure.agent.pack import build_zipapp
from devices.measure.agent.server import TOKEN_VARIABLE
from devices.measure.client import AgentClient, Timeouts

ENDLESS = {"blocks": 1000, "calls": 100_000, "max_interval": 1.0, "time_limit_s": 1.0}
"""A protocol that measures until it is stopped."""
TOKEN = "a-token-of-the-tests-and-no-secret"
SOON = Timeouts(request_s=10.0, unreachable_s=0.5, busy_s=30.0, job_s=60.0)


class Agent:
    """An agent's process, started from the packed file that is copied to a device."""

    def __init__(self, folder: Path) -> None:
        self._file, self.scratch = folder / "agent.pyz", folder / "scratch"
        self._file.write_bytes(build_zipapp())
        self.scratch.mkdir()
        self.start(0)

    def start(self, port: int) -> None:
        command = [sys.executable, str(self._file), "serve", "--port", str(port)]
        # Not from the repository: a device has none.
        self._process = subprocess.Popen(
            command, cwd=self._file.parent,
            env={"PATH": os.environ["PATH"], "TMPDIR": str(self.scratch), TOKEN_VARIABLE: TOKEN},
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("listening on 127.0.0.1:"), line
        self.port = int(line.rpartition(":")[2])

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        self._process.send_signal(number)
        self._process.wait(30)

    def client(self, patience: Timeouts = SOON, token: str = TOKEN) -> AgentClient:
        return AgentClient("phone", f"127.0.0.1:{self.port}", token, patience)

    def request(
        self, method: str, path: str, body: bytes = b"", token: str | None = TOKEN, **headers: str
    ) -> tuple[int, Any]:
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def running(self) -> str | None:
        running: str | None = self.request("GET", "/health")[1]["running"]
        return running


def until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail(f"never: {what}")
