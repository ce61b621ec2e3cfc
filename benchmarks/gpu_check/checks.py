"""The table of checks. To add one, add a function, and a line below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.gpu_check import marks
from benchmarks.gpu_check.bundle import check_bundle
from benchmarks.gpu_check.engine import check_regular, check_rtx
from benchmarks.gpu_check.marks import Mark
from benchmarks.gpu_check.network import check_network, check_repeats
from benchmarks.gpu_check.processes import check_processes
from benchmarks.gpu_check.record import Outcome
from benchmarks.gpu_check.speed import check_speed
from benchmarks.gpu_check.supernet import check_bfloat16, check_strategy
from models.training.strategies import STRATEGIES


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        claim: what holds if it passes on a GPU.
        run: the check on a device; on the CPU it does what needs no GPU.
        verifies: marks that need this check, among others.
        limit_s: seconds after which it has failed.
    """

    claim: str
    run: Callable[[torch.device], Outcome]
    verifies: tuple[Mark, ...] = ()
    limit_s: float = 180.0


CHECKS: Mapping[str, Check] = {
    **{
        f"supernet-{name}": Check(
            f"steps of {name} on the GPU equal those on the CPU",
            partial(check_strategy, name),
            marks.SUPERNET,
        )
        for name in STRATEGIES
    },
    "network": Check("final training on the GPU equals that on the CPU", check_network),
    "repeats": Check(
        "training on the GPU is repeated and resumed to the same bytes", check_repeats
    ),
    "bfloat16": Check("a supernet learns in bfloat16", check_bfloat16, marks.SUPERNET),
    "processes": Check(
        "processes that share batches through NCCL learn what one learns",
        check_processes,
        marks.PROCESSES,
    ),
    "speed": Check("training speed, GPU against CPU, is measured", check_speed),
    "tensorrt-rtx": Check(
        "TensorRT-RTX engines compute what their ONNX files state, and are timed",
        check_rtx,
        marks.ENGINES,
    ),
    "tensorrt": Check(
        "engines of the regular TensorRT do, too", check_regular, marks.REGULAR_ENGINES
    ),
    "bundle": Check("netwright verify --latency holds for the release's bundle", check_bundle),
}
