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
from pathlib import Path
from typing import Any

import numpy as np

from devices.runtimes.session import SessionError

from .machine import machine
from .protocol import MeasurementError, Protocol, measure_against
from .runtimes import RUNTIMES

SCHEMA = "netwright/agent/3"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
UNIT = re.compile(r"[A-Z]+(\.[0-9]{1,3}){0,2}")
JOB_ID = re.compile(r"[0-9a-f]{32}")
DESCRIPTION, ANSWER, LOG = "job.json", "answer.json", "words.txt"
RESERVED = frozenset({DESCRIPTION, ANSWER, LOG, "answer.tmp"})
_ROOT = Path(__file__).parents[__package__.count(".") + 1]
"""Import root of this package: a folder, or the zip application built by `pack`."""


class JobError(ValueError):
    """An invalid request; the message names the field and the rule."""


def check_job(job: Any) -> dict[str, Any]:
    """Validate the description of a job.

    Raises:
        JobError: a field is invalid; the message names it.
    """
    _need(isinstance(job, dict) and job.get("schema") == SCHEMA, f"schema must be {SCHEMA!r}")
    _need(
        type(job.get("id")) is str and bool(JOB_ID.fullmatch(job["id"])), "id must be 32 hex digits"
    )
    _need(job.get("kind") in ("measure", "run"), "kind must be 'measure' or 'run'")
    backend, known = job.get("backend"), ", ".join(RUNTIMES)
    _need(type(backend) is str and backend in RUNTIMES, f"backend {backend!r}: known are {known}")
    _check_unit(job.get("unit"), RUNTIMES[str(backend)].units)
    _need(type(job.get("label")) is str, "label must be a string")
    _need(_whole(job.get("threads"), 1, 1024), "threads must be 1 to 1024")
    _need(_number(job.get("seconds")) and job["seconds"] > 0, "seconds must be positive")
    names = _file_names(job.get("files"))
    _need(job.get("model") in names, "model must be one of the files")
    if job["kind"] == "measure":
        _need(job.get("reference") in names, "reference must be one of the files")
        protocol = job.get("protocol")
        _need(isinstance(protocol, dict), "protocol must be an object")
        fields = {"blocks", "calls", "max_interval", "time_limit_s"}
        _need(set(protocol) == fields, f"protocol needs exactly {sorted(fields)}")
        _need(_whole(protocol["blocks"], 1, 1000), "protocol.blocks must be 1 to 1000")
        _need(_whole(protocol["calls"], 1, 100_000), "protocol.calls must be 1 to 100000")
        for limit in ("max_interval", "time_limit_s"):
            positive = _number(protocol[limit]) and protocol[limit] > 0
            _need(positive, f"protocol.{limit} must be positive")
    else:
        _need(job.get("images") in names, "images must be one of the files")
    return dict(job)


def _check_unit(unit: Any, units: tuple[str, ...]) -> None:
    named = type(unit) is str and bool(UNIT.fullmatch(unit)) and unit.partition(".")[0] in units
    _need(named, f"unit {unit!r}: known are {', '.join(units)}")


def _file_names(files: Any) -> set[str]:
    _need(isinstance(files, list) and 0 < len(files) <= 16, "files must be a list of 1 to 16")
    for file in files:
        _need(isinstance(file, dict), "files: each must be an object")
        name = file.get("name")
        _need(type(name) is str and bool(NAME.fullmatch(name)), f"files: bad name {name!r}")
        _need(_whole(file.get("bytes"), 1, 1 << 40), f"files: invalid bytes of {name}")
        _need(type(file.get("sha256")) is str, f"files: missing sha256 of {name}")
    names = {str(file["name"]) for file in files}
    _need(len(names) == len(files), "files: names must differ")
    _need(
        not names & RESERVED,
        f"files: {', '.join(sorted(RESERVED))} are reserved for the agent's own files",
    )
    return names


def _need(right: bool, rule: str) -> None:
    if not right:
        raise JobError(f"invalid job: {rule}.")


def _whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


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
            answer = measure_against(model, reference, protocol, job["threads"])
    except (MeasurementError, SessionError) as error:
        return {"error": str(error)}
    except ImportError as error:
        return {"error": f"{kind.runtime} is not installed on the device: {error}"}
    except (RuntimeError, ValueError, OSError) as error:
        return {"error": f"{kind.runtime} cannot run {job['model']}: {error}"}
    except Exception as error:  # noqa: BLE001 - runtimes raise their own types
        return {"error": f"{kind.runtime}: {type(error).__name__}: {error}"}
    return {**answer, "machine": machine(kind.runtime, kind.package)}


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


def start_job(folder: Path) -> subprocess.Popen[bytes]:
    """Start the process of a job."""
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
    how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"code {code}"
    return {"error": f"its process ended with {how}: {last or 'no output'}"}
