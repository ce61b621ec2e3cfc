"""Processes that share every batch, started by torchrun: NCCL on GPUs, gloo on CPUs.

`python -m benchmarks.gpu_check.processes KIND COUNT FILE` under torchrun is one of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.gpu_check.compare import Trained, differences
from benchmarks.gpu_check.record import Outcome, Value
from benchmarks.gpu_check.supernet import params_of, train_steps
from core.distributed import join, select_device
from core.errors import UserError
from core.process import prepare_machine

_MODULE = "benchmarks.gpu_check.processes"
_STEPS, _MOST = 3, 2
_LIMIT_S = 120.0


def check_processes(device: torch.device) -> Outcome:
    """As many processes as GPUs (at most two, one on the CPU) train as one without a group.

    Batch norms normalise by the group's statistics even in a group of one, so the communication
    is used.

    Raises:
        UserError: torchrun ended with an error.
    """
    count = min(_MOST, torch.cuda.device_count()) if device.type == "cuda" else 1
    alone = train_steps(params_of("spos", True), _STEPS, device, torch.float64)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trained.pt"
        _launch(device.type, count, file)
        start, end, losses = torch.load(file, weights_only=True)
    found = differences(alone, Trained(start, end, losses), torch.float64)
    return Outcome(values=(Value.of("processes", count), *found))


def _launch(kind: str, count: int, file: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    interface = "lo" if sys.platform.startswith("linux") else "lo0"
    loopback = {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface}
    done = subprocess.run(
        [*command, "-m", _MODULE, kind, str(count), str(file)],
        env=loopback | dict(os.environ) | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        raise UserError(f"torchrun ended with code {done.returncode}:\n{done.stderr[-2000:]}")


def main() -> None:
    """Train as one of the processes; the first one writes the result."""
    kind, count, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    prepare_machine(torch.get_num_threads(), 0)
    device = select_device("gpu_check", kind, count)
    processes = join("gpu_check", count, device)
    params = params_of("spos", True)
    trained = train_steps(params, _STEPS, device, torch.float64, processes, joint=True)
    if processes.first:
        torch.save(tuple(trained), file)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
