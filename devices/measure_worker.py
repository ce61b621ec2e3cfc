"""The process that measures: reads a job on its standard input, reports lines on its output.

Started by `devices.measure`, which describes the protocol. It measures nothing itself: it starts
one process a model, from a server that has the runtime imported already where the system has
`fork`, because importing takes longer than measuring.
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

from devices.agent.protocol import MeasurementError, Protocol, measure_against
from devices.agent.quiet import quiet
from devices.backends import backend
from devices.device import DeviceError
from devices.measure import LINE

QUIET = "devices.quiet"
LIMIT_S = 600.0
"""Seconds one model may take, which none does but one that hangs."""


def run(job: dict[str, Any], limit_s: float = LIMIT_S) -> None:
    """Measure every model of a job and report each.

    Raises:
        MeasurementError: a model cannot be opened, or its process ended without an answer.
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


_LATE = f"measuring took more than {LIMIT_S:g} s, so the runtime was stopped."


def measure_one(job: dict[str, Any], name: str, file: str, parent: Connection) -> None:
    """Measure one model against the reference and send the answer."""
    quiet()
    threads = job["threads"]
    try:
        runtime = backend(job["backend"]).on(job["unit"])
        with (
            runtime.open(Path(file), threads) as model,
            runtime.open(Path(job["reference"]), threads) as reference,
        ):
            answer = measure_against(model, reference, Protocol(**job["protocol"]), threads)
    except (MeasurementError, DeviceError) as error:
        parent.send_bytes(json.dumps({"error": str(error)}).encode())
    else:
        parent.send_bytes(json.dumps(answer).encode())


def report(content: dict[str, Any]) -> None:
    """Send one line to `devices.measure`."""
    print(LINE + json.dumps(content), flush=True)


def _context(package: str) -> BaseContext:
    """How children start: from a server with the runtime imported, or from scratch."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # In this order, so that the runtime stays quiet and starts no thread that a fork would lose.
    context.set_forkserver_preload([QUIET, package, __spec__.name])
    return context


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"code {code}"


def main() -> None:
    """Run the job on standard input; what the user can mend is reported as a line."""
    quiet()
    try:
        run(json.load(sys.stdin))
    except (MeasurementError, DeviceError) as error:
        report({"error": str(error)})


if __name__ == "__main__":
    main()
