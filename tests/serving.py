"""Helpers for tests of `netwright serve` through the API of its Prefect server."""

import json
import socket
import time
import urllib.error
import urllib.request
from typing import Any

SERVE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from pathlib import Path
from rich.console import Console
from pipelines.run.server import serve_schedule
serve_schedule(Console(), Path.cwd(), "* * * * * */15", int(sys.argv[1]), 1)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def scheduled_run(port: int, state: str, seconds: float) -> dict[str, Any]:
    """Wait for a flow run of the deployment in a state, through Prefect's API."""
    until = time.monotonic() + seconds
    body = json.dumps({"flow_runs": {"state": {"type": {"any_": [state]}}}}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/flow_runs/filter",
        data=body,
        headers={"Content-Type": "application/json"},
    )
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                runs = json.load(answer)
        except (urllib.error.URLError, OSError):
            runs = []
        for run in runs:
            if run["deployment_id"] is not None:
                return dict(run)
        time.sleep(1)
    raise AssertionError(f"no flow run was {state} within {seconds} s")
