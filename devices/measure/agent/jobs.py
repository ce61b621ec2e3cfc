"""Jobs, each in its own process, so that the agent survives a runtime that crashes or hangs.

The folder of a job holds `job.json`, the uploaded files, and finally `answer.json`.
Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from devices.runtimes.session import SessionError

from .machine import RUNTIMES, machine
from .protocol import MeasurementError, Protocol, measure_against

SCHEMA = "netwright/agent/3"
DESCRIPTION, ANSWER, LOG = "job.json", "answer.json", "words.txt"
RESERVED = frozenset({DESCRIPTION, ANSWER, LOG, "answer.tmp"})
_ROOT = Path(__file__).parents[__package__.count(".") + 1]
"""Import root of this package: a folder, or the zip application built by `pack`."""
Rule = tuple[str, Callable[[Any], bool]]
Rules = Mapping[str, Rule]
"""What each field of an object must be."""


class JobError(ValueError):
    """An invalid request; the message names the field and the rule."""


def _whole(least: int, most: int) -> Rule:
    return f"{least} to {most}", lambda value: type(value) is int and least <= value <= most


def _text(rule: str, pattern: str = ".*") -> Rule:
    return rule, lambda value: type(value) is str and bool(re.fullmatch(pattern, value, re.DOTALL))


def _positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


_JOB: Rules = {
    "schema": (repr(SCHEMA), lambda value: value == SCHEMA),
    "id": _text("32 hex digits", r"[0-9a-f]{32}"),
    "kind": ("'measure' or 'run'", lambda value: value in ("measure", "run")),
    "backend": _text(f"one of {', '.join(RUNTIMES)}", "|".join(map(re.escape, RUNTIMES))),
    "label": _text("a string"),
    "threads": _whole(1, 1024),
    "seconds": ("positive", _positive),
    "files": ("a list of 1 to 16", lambda value: isinstance(value, list) and 0 < len(value) <= 16),
}
_FILE: Rules = {
    "name": _text("a plain file name", r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"),
    "bytes": _whole(1, 1 << 40),
    "sha256": _text("a string"),
}
_PROTOCOL: Rules = {
    "blocks": _whole(1, 1000),
    "calls": _whole(1, 100_000),
    "max_interval": ("positive", _positive),
    "time_limit_s": ("positive", _positive),
}
_UNIT = r"[A-Z]+(\.[0-9]{1,3}){0,2}"
_FILES_OF = {"measure": ("model", "reference"), "run": ("model", "images")}
"""The fields that name files of a job, by its kind."""


def check_job(job: Any) -> dict[str, Any]:
    """Validate the description of a job.

    Raises:
        JobError: a field is invalid; the message names it.
    """
    _check(job, _JOB)
    units, unit = RUNTIMES[job["backend"]].units, job.get("unit")
    named = type(unit) is str and re.fullmatch(_UNIT, unit) and unit.partition(".")[0] in units
    _need(bool(named), f"unit must be one of {', '.join(units)}")
    for file in job["files"]:
        _check(file, _FILE, "files: ")
    names = [file["name"] for file in job["files"]]
    _need(len(set(names)) == len(names), "files: names must differ")
    _need(
        RESERVED.isdisjoint(names),
        f"files: {', '.join(sorted(RESERVED))} are reserved for the agent's own files",
    )
    for field in _FILES_OF[job["kind"]]:
        _need(job.get(field) in names, f"{field} must be one of the files")
    if job["kind"] == "measure":
        protocol = job.get("protocol")
        exact = isinstance(protocol, dict) and protocol.keys() == _PROTOCOL.keys()
        _need(exact, f"protocol needs exactly {sorted(_PROTOCOL)}")
        _check(protocol, _PROTOCOL, "protocol.")
    return dict(job)


def _check(content: Any, rules: Rules, where: str = "") -> None:
    _need(isinstance(content, dict), f"{where}not an object")
    for field, (rule, holds) in rules.items():
        _need(holds(content.get(field)), f"{where}{field} must be {rule}")


def _need(right: bool, rule: str) -> None:
    if not right:
        raise JobError(f"invalid job: {rule}.")


def run_job(folder: Path) -> dict[str, Any]:
    """Run the job in a folder; errors that the sender can fix are an `error` in the answer."""
    job = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    kind, how = RUNTIMES[job["backend"]], (job["threads"], job["unit"])
    try:
        model = kind(folder / job["model"], *how)
        if job["kind"] == "run":
            answer = _run_images(model, folder / job["images"])
        else:
            reference = kind(folder / job["reference"], *how)
            protocol = Protocol(**job["protocol"])
            answer = asdict(measure_against(model, reference, protocol, job["threads"]))
    except (MeasurementError, SessionError) as error:
        return {"error": str(error)}
    except ImportError as error:
        return {"error": f"{kind.runtime} is not installed on the device: {error}"}
    except Exception as error:  # noqa: BLE001 - runtimes raise their own types
        what = f"{type(error).__name__}: {error}"
        return {"error": f"{kind.runtime} cannot run {job['model']}: {what}"}
    return {**answer, "machine": machine(kind)}


def _run_images(model: Any, file: Path) -> dict[str, Any]:
    shape_1CHW = model.input_shape
    values = np.frombuffer(file.read_bytes(), dtype="<f4")
    size = math.prod(shape_1CHW)
    if len(values) == 0 or len(values) % size:
        raise ValueError(f"{len(values)} values are not a multiple of the image shape {shape_1CHW}")
    images = values.reshape(-1, *shape_1CHW).astype(np.float32)
    logits_NK = np.concatenate([np.asarray(model(image)).reshape(1, -1) for image in images])
    raw = np.ascontiguousarray(logits_NK, dtype="<f4").tobytes()
    return {"logits": base64.b64encode(raw).decode(), "shape": list(logits_NK.shape)}


def job_main(folder: Path) -> None:
    """Entry point of the job's process; exits and cleans up when the agent exits."""

    def exit_with_agent() -> None:
        sys.stdin.buffer.read()  # returns when the agent's end of the pipe is closed
        shutil.rmtree(folder.parent, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=exit_with_agent, daemon=True).start()
    answer = run_job(folder)
    temporary = folder / "answer.tmp"
    temporary.write_text(json.dumps(answer), encoding="utf-8")
    temporary.replace(folder / ANSWER)
    os._exit(0)  # skip the runtime's teardown, which may hang


def start_job(folder: Path, job: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """Start the process of a job whose files are in a folder."""
    (folder / DESCRIPTION).write_text(json.dumps(job), encoding="utf-8")
    with (folder / LOG).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", __package__, "job", str(folder)],
            # Not from the current folder, which may have a package of the same name.
            env={**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONSAFEPATH": "1"},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )


def finish_job(folder: Path, process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
    """Wait for the process of a job, with a timeout, and read its answer."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return {"error": f"it took longer than its limit of {seconds:g} s and was killed."}
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
    answer = folder / ANSWER
    if answer.is_file():
        return dict(json.loads(answer.read_text(encoding="utf-8")))
    last = (folder / LOG).read_bytes()[-500:].decode(errors="replace").strip()
    return {"error": f"its process ended with {describe_exit(code)}: {last or 'no output'}"}


def describe_exit(code: int | None) -> str:
    """The exit code of a process, or the signal that ended it."""
    if code is not None and code < 0:
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"code {code}"
