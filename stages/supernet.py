"""The supernet stage: train shared weights for a search space."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch

from core.checkpoint import Checkpoint, inputs_fingerprint
from core.distributed import launched
from core.files import write_bytes, write_json
from core.launch import check_parts, join_processes, relaunch
from core.process import prepare_machine
from core.schemas import HISTORY
from core.settings import ParamsError, read_section
from models.nets.weights import to_bytes
from models.space.space import SearchSpace
from models.training.learning import Images, history_rows
from models.training.supernet.report import sampled_accuracies
from models.training.supernet.settings import SupernetParams
from models.training.supernet.training import peak_step_bytes, train_supernet


def main() -> None:
    """Parse the flags, read, train, write."""
    parser = argparse.ArgumentParser(prog="python -m stages supernet", description=__doc__)
    for flag in ("--params", "--space", "--data", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    args = parser.parse_args()
    params = read_section(args.params, "supernet", SupernetParams)
    images = Images.open(args.data)
    space = SearchSpace.load(args.space, images.info.image_shape, len(images.info.classes))
    check_parts(min(params.batch, len(images.train)), params.processes * params.accumulate)
    device = select_device(params)
    if params.processes > 1 and not launched():
        relaunch("supernet", sys.argv[1:], params.processes, params.threads)
    prepare_machine(params.threads, params.seed)
    processes = join_processes("supernet", params.processes, device)
    inputs = inputs_fingerprint("supernet", params, args.space, args.data)
    checkpoint = Checkpoint(args.out, inputs)

    supernet, run, strategy = train_supernet(space, images, params, checkpoint, device, processes)
    processes.leave()
    if not processes.first:
        return
    history = {
        "space": space.name,
        "architectures": space.count(),
        "strategy": strategy.name,
        "steps": history_rows(run),
        "peak_step_bytes": peak_step_bytes(space, images, params),
        "judge": "classifier" if strategy.classifies else "linear probe",
        "subnets": sampled_accuracies(supernet, space, images, params, strategy.classifies),
    }
    write_bytes(args.out / "supernet.safetensors", to_bytes(supernet))
    write_json(args.out / "history.json", HISTORY, history)
    checkpoint.clear()


def select_device(params: SupernetParams) -> torch.device:
    """Select the device on which this process computes.

    Raises:
        ParamsError: there are not enough GPUs.
    """
    if params.device == "cpu":
        return torch.device("cpu")
    found = torch.cuda.device_count()
    if found < params.processes:
        raise ParamsError(
            f"supernet.device: cuda with supernet.processes: {params.processes} needs "
            f"{params.processes} GPU(s), but torch finds {found}. Use device: cpu or fewer "
            "processes."
        )
    # Required for deterministic cuBLAS; must be set before it is initialised.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device
