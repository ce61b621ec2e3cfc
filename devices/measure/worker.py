"""Measurement worker: reads a job from stdin, reports lines on stdout.

Started by `devices.measure.interleaved`, which describes the protocol. It starts one process per
model; where available, from a fork server with the runtime preloaded, because imports take longer
than measurements.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from devices.device import DeviceError
from devices.measure.agent.protocol import MeasurementError, Protocol, measure_against
from devices.measure.interleaved import LINE
from devices.runtimes.registry import backend
from devices.runtimes.session import SessionError

QUIET = "devices.runtimes.session"
"""Disables telemetry on import."""
LIMIT_S = 600.0
"""Timeout per model, for runtimes that hang."""


def run(job: dict[str, Any], limit_s: float = LIMIT_S) -> None:
    """Measure every model of a job and report each.

    Raises:
        MeasurementError: a model cannot be opened, or its process exited without an answer.
        DeviceError: there is no such backend.
    """
    context = _context(backend(job["backend"]).package)
    for name, file in job["models"].items():
        mine, its = context.Pipe(duplex=False)
        child = context.Process(  # type: ignore[attr-defined]
            target=measure_one, args=(job, name, file, its), daemon=True
        )
        child.start()
        its.close()
        try:
            late = {"error": f"'{name}': {_LATE}"}
            answer = json.loads(mine.recv_bytes()) if mine.poll(limit_s) else late
        except EOFError:
            child.join()
            answer = {"error": f"measuring '{name}' ended with {_ending(child.exitcode)}."}
        child.kill()
        child.join()
        if "error" in answer:
            raise MeasurementError(answer["error"])
        report({"done": name, **answer})


_LATE = f"measuring took more than {LIMIT_S:g} s, so the process was killed."


def measure_one(job: dict[str, Any], name: str, file: str, parent: Connection) -> None:
    """Measure one model against the reference and send the answer."""
    threads = job["threads"]
    try:
        runtime = backend(job["backend"]).for_unit(job["unit"])
        with (
            runtime.open(Path(file), threads) as model,
            runtime.open(Path(job["reference"]), threads) as reference,
        ):
            answer = measure_against(model, reference, Protocol(**job["protocol"]), threads)
    except (MeasurementError, DeviceError, SessionError) as error:
        parent.send_bytes(json.dumps({"error": str(error)}).encode())
    else:
        parent.send_bytes(json.dumps(answer).encode())


def report(content: dict[str, Any]) -> None:
    """Print a report line for `devices.measure.interleaved`."""
    print(LINE + json.dumps(content), flush=True)


def _context(package: str) -> BaseContext:
    """Start method of child processes: a preloaded fork server, or spawn."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # In this order, to disable telemetry before the runtime starts threads.
    context.set_forkserver_preload([QUIET, package, __spec__.name])
    return context


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"code {code}"


def main() -> None:
    """Run the job from stdin; errors that the user can fix are reported as a line."""
    try:
        run(json.load(sys.stdin))
    except (MeasurementError, DeviceError) as error:
        report({"error": str(error)})


if __name__ == "__main__":
    main()
