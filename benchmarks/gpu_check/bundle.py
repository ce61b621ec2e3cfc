"""A finished release's TensorRT bundle, verified on this GPU."""

from __future__ import annotations

import subprocess
import sys

import torch

from benchmarks.gpu_check.record import Outcome, Value
from benchmarks.harness.flags import ARTIFACTS, ROOT
from bundles.read import read_bundle
from core.errors import UserError
from devices.runtimes.tensorrt.session import gpu_capability

DEVICE = "rtx"
_LIMIT_S = 120.0


def check_bundle(device: torch.device) -> Outcome:
    """`netwright verify BUNDLE --latency` ends with exit code 0.

    Raises:
        UserError: it did not.
    """
    del device
    path, own = ARTIFACTS / "bundle" / DEVICE / f"{DEVICE}.tar.gz", gpu_capability()
    if not path.is_file():
        return Outcome(skipped=f"no bundle of '{DEVICE}' in artifacts/: netwright run")
    wanted = read_bundle(path).manifest.device.compute_capabilities
    if own is not None and own not in wanted:
        return Outcome(
            skipped=f"the bundle is for {', '.join(wanted)}, and this GPU is {own}: add it to "
            f"devices.{DEVICE}.compute_capabilities, then netwright run"
        )
    command = [sys.executable, "-m", "pipelines", "verify", str(path)]
    command += ["--latency"] * (own is not None)
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )
    if done.returncode != 0:
        raise UserError(f"netwright verify ended with code {done.returncode}:\n{done.stdout}")
    return Outcome(values=(Value.of("exit code", done.returncode, 0),))
