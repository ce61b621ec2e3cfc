"""One check in its own process: `python -m benchmarks.gpu_check.child NAME KIND FILE`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.gpu_check.checks import CHECKS
from benchmarks.gpu_check.record import Outcome, Row, Status
from benchmarks.harness.flags import ROOT
from core.distributed import select_device
from core.process import prepare_machine

_MOST_THREADS = 8


def run_check(name: str, kind: str) -> Row:
    """Run a check in a process of its own, which a CUDA fault cannot outlive.

    Args:
        name: of the check.
        kind: `cuda`, or `cpu` where there is no GPU: then nothing is passed.
    """
    check, began = CHECKS[name], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / Outcome.FILE
        command = [sys.executable, "-m", __spec__.name, name, kind, str(file)]
        error = _wait(command, check.limit_s)
        outcome = Outcome() if error else Outcome.read(file)
    status, reason = judge(outcome, kind, error)
    seconds = round(time.perf_counter() - began, 1)
    return Row(
        name=name,
        claim=check.claim,
        status=status,
        reason=reason,
        values=outcome.values,
        seconds=seconds,
    )


def judge(outcome: Outcome, kind: str, error: str = "") -> tuple[Status, str]:
    """The status of a check on `cuda` or on `cpu`, and its reason."""
    over = [str(value) for value in outcome.values if not value.holds]
    if error or over:
        return "failed", error or "; ".join(over)
    if outcome.skipped is not None:
        return "skipped", outcome.skipped
    return ("passed", "") if kind == "cuda" else ("not run", "no NVIDIA GPU")


def _wait(command: list[str], limit_s: float) -> str:
    """Run a command; returns why it failed, or nothing."""
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        return f"it took more than {limit_s:g} s"
    finally:
        if child.poll() is None:  # with what it started, such as torchrun's processes
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    last = "\n".join(output.strip().splitlines()[-6:])
    return "" if child.returncode == 0 else f"it ended with code {child.returncode}: {last}"


def main() -> None:
    """Run a check and write its outcome."""
    name, kind, file = sys.argv[1:]
    prepare_machine(min(_MOST_THREADS, torch.get_num_threads()), 0)
    CHECKS[name].run(select_device("gpu_check", kind, 1)).write(Path(file))


if __name__ == "__main__":
    main()
