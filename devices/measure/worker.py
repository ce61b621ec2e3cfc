"""Measurement of models on this machine, each with the reference in a process of its own.

So they are isolated from the caller's threads and memory, and a runtime that crashes or hangs only
ends its process. `measure_once` starts this module, which reads a job from stdin and reports lines
on stdout; it starts the models' processes, where available from a fork server with the runtime
preloaded, because imports take longer than measurements.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from devices.device import DeviceError
from devices.measure.agent.jobs import describe_exit
from devices.measure.agent.protocol import (
    Measurement,
    MeasurementError,
    Protocol,
    measure_against,
)
from devices.runtimes.registry import backend
from devices.runtimes.session import SessionError

LINE = "measure "
"""Prefix of the report lines; runtimes may print other lines."""
QUIET = "devices.runtimes.session"
"""Disables telemetry on import."""
LIMIT_S = 600.0
"""Timeout per model, for runtimes that hang."""
_ROOT = Path(__file__).resolve().parents[2]


def measure_once(
    backend: str,
    unit: str,
    models: Mapping[str, Path],
    reference: Path,
    threads: int,
    protocol: Protocol,
) -> Iterator[tuple[str, Measurement]]:
    """Measure models one after the other, and yield each result.

    Raises:
        MeasurementError: a model cannot be opened, or a process ended; the message names it.
    """
    job = {
        "backend": backend,
        "unit": unit,
        "models": {name: str(file.resolve()) for name, file in models.items()},
        "reference": str(reference.resolve()),
        "threads": threads,
        "protocol": asdict(protocol),
    }
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-m", __spec__.name], stdin=pipe, stdout=pipe, stderr=pipe, text=True,
        cwd=_ROOT,
    ) as worker:  # fmt: skip
        assert worker.stdin is not None
        assert worker.stdout is not None
        errors: list[str] = []
        # Read stderr concurrently, because a full pipe would block the worker.
        listener = threading.Thread(target=lambda: errors.extend(worker.stderr or ()), daemon=True)
        listener.start()
        try:
            # A worker that exits at its start is reported by its exit code.
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.write(json.dumps(job))
                worker.stdin.close()
            for line in worker.stdout:
                if line.startswith(LINE):
                    yield _read_report(line)
            code = worker.wait()
        finally:
            worker.kill()
            listener.join()  # before the pipe that it reads is closed
        if code != 0:
            last = "".join(errors[-5:]).strip() or "no output"
            raise MeasurementError(f"the measuring process ended with code {code}: {last}")


def _read_report(line: str) -> tuple[str, Measurement]:
    report = json.loads(line.removeprefix(LINE))
    if "error" in report:
        raise MeasurementError(report["error"])
    return report.pop("done"), Measurement(**report)


def report(content: Mapping[str, Any]) -> None:
    """Print a report line for `measure_once`."""
    print(LINE + json.dumps(content), flush=True)


def run(job: Mapping[str, Any]) -> None:
    """Measure every model of a job and report each.

    Raises:
        MeasurementError: a model cannot be opened, or its process exited without an answer.
        DeviceError: there is no such backend.
    """
    context = _context(backend(job["backend"]).package)
    for name, file in job["models"].items():
        mine, its = context.Pipe(duplex=False)
        child = context.Process(  # type: ignore[attr-defined]
            target=measure_one, args=(job, file, its), daemon=True
        )
        child.start()
        its.close()
        answer = {"error": f"'{name}' took more than {LIMIT_S:g} s, so its process was killed."}
        try:
            if mine.poll(LIMIT_S):
                answer = json.loads(mine.recv_bytes())
        except EOFError:
            child.join()
            ending = describe_exit(child.exitcode)
            answer = {"error": f"measuring '{name}' ended with {ending}."}
        child.kill()
        child.join()
        if "error" in answer:
            raise MeasurementError(answer["error"])
        report({"done": name, **answer})


def measure_one(job: Mapping[str, Any], file: str, parent: Connection) -> None:
    """Measure one model against the reference and send the answer."""
    threads, runtime = job["threads"], backend(job["backend"]).for_unit(job["unit"])
    try:
        with (
            runtime.open(Path(file), threads) as model,
            runtime.open(Path(job["reference"]), threads) as reference,
        ):
            protocol = Protocol(**job["protocol"])
            answer = asdict(measure_against(model, reference, protocol, threads))
    except (MeasurementError, DeviceError, SessionError) as error:
        answer = {"error": str(error)}
    parent.send_bytes(json.dumps(answer).encode())


def _context(package: str) -> BaseContext:
    """Start method of child processes: a preloaded fork server, or spawn."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # In this order, to disable telemetry before the runtime starts threads.
    context.set_forkserver_preload([QUIET, package, __spec__.name])
    return context


def main() -> None:
    """Run the job from stdin; errors that the user can fix are reported as a line."""
    try:
        run(json.load(sys.stdin))
    except (MeasurementError, DeviceError) as error:
        report({"error": str(error)})


if __name__ == "__main__":
    main()
