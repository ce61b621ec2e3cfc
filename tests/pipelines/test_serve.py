"""A scheduled run, seen to happen through Prefect's own interface."""

import json
import signal
import socket
import time
import urllib.error
import urllib.request
from typing import Any

import psutil
import pytest

from tests.support import Repository, kill_tree

SERVE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from datetime import timedelta
from pathlib import Path
from rich.console import Console
from pipelines.serve import serve_schedule
serve_schedule(Console(), Path.cwd(), timedelta(seconds=45), int(sys.argv[1]), 1)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_scheduled_run_happens_and_everything_stops_with_us(finished: Repository):
    removed = finished.root / "artifacts/release/release.json"
    content = removed.read_bytes()
    removed.unlink()  # so that the scheduled run has something to do
    port = free_port()
    child = finished.start("-c", SERVE, str(port))
    try:
        began = time.monotonic()
        run = scheduled_run(port, "COMPLETED", 180)
        took = time.monotonic() - began
        started = psutil.Process(child.pid).children(recursive=True)
        child.send_signal(signal.SIGINT)
        output, _ = child.communicate(timeout=60)
    finally:
        if child.poll() is None:
            kill_tree(child.pid)
    assert run["auto_scheduled"] is True
    assert removed.read_bytes() == content, output
    print(f"The scheduled run was complete {took:.0f} s after the start.")
    _, alive = psutil.wait_procs(started, timeout=20)
    assert alive == []
    assert (finished.root / ".netwright/prefect/prefect.db").is_file()


def test_a_port_that_is_taken_is_refused(finished: Repository):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code, output = finished.netwright("serve", "--cron", "0 3 * * 1", "--port", str(port))
    assert code == 2, output
    assert f"port {port} is taken; choose another with --port." in output
    assert "Traceback" not in output


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def scheduled_run(port: int, state: str, seconds: float) -> dict[str, Any]:
    """A flow run of the deployment that is in a state, as Prefect's server tells."""
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
