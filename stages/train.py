"""The train stage: from a selected architecture to trained weights."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from core.checkpoint import Checkpoint, inputs_fingerprint
from core.distributed import ALONE, Processes, launched
from core.files import FileFormatError, fingerprint, rounded, write_bytes, write_json
from core.launch import check_parts, join_processes, relaunch
from core.process import prepare_machine
from core.schemas import HISTORY, TRAIN
from core.settings import read_section
from data.stream import eval_batches
from devices.runtimes.onnxruntime.session import OnnxRuntimeSession
from models.nets.equivalence import EquivalenceCheck, Limits, compare, scaled
from models.nets.evaluate import logits, recalibrate
from models.nets.subnet import Subnet
from models.nets.supernet import Supernet, extract
from models.nets.weights import load_into, to_bytes
from models.search.choice import Choice
from models.space.architecture import SCHEMA, Architecture
from models.space.costs import flops, parameters
from models.space.space import SearchSpace
from models.training.joint_norm import joint_norms
from models.training.learning import (
    EVAL_BATCH,
    Images,
    history_rows,
    learn_with_checkpoints,
    spread,
    supernet_file,
)
from models.training.loop import Objective, Run, supervised_step
from models.training.reuse import copy_finished_run, lock_inputs, record_inputs
from models.training.settings import TrainParams
from models.training.teachers.load import open_teacher
from models.training.warm_start import shrink_and_perturb


def train_network(
    start: nn.Module,
    images: Images,
    objective: Objective,
    params: TrainParams,
    checkpoint: Checkpoint,
    processes: Processes = ALONE,
) -> Run:
    """Train a network in place, from the weights it has.

    The result has the averaged weights and recalibrated batch norms: the average is often better
    and never much worse, and selecting between the two would overfit `val`.

    Args:
        start: the network.
        images: the data set.
        objective: the loss, with the teacher's soft labels.
        params: how.
        checkpoint: of this run.
        processes: those that share each batch; each calls this.
    """
    stream = images.stream(params, (processes.rank, processes.count))
    run = Run(start, params.recipe(stream.steps_per_epoch), processes=processes)
    learn = supervised_step(start, objective, params.mixup)
    with joint_norms(start, processes):
        learn_with_checkpoints("train", run, stream.at, learn, checkpoint)
    run.use_average()
    recalibrate(start, images.calibration(params.recalibration_batches, params.batch, params.seed))
    start.eval()
    return run


def build_objective(params: TrainParams, images: Images, teacher: Path) -> Objective:
    """Build the loss from the params and a teacher's folder.

    Raises:
        FileFormatError: the teacher's soft labels are missing, or of another data set.
    """
    live = params.soft_labels == "live"
    return Objective(
        len(images.info.classes),
        params.label_smoothing,
        None if live else read_teacher(teacher, images),
        params.distill_weight,
        params.temperature,
        open_teacher(teacher, images.info, params.threads, OnnxRuntimeSession) if live else None,
    )


def compare_slice(
    supernet: Supernet, subnet: Subnet, images: Images, params: TrainParams
) -> EquivalenceCheck:
    """Equivalence check of the slice against the supernet, on test images.

    Raises:
        EquivalenceError: they differ by more than rounding.
    """
    test = spread(images.test, params.slice_images)
    architecture = subnet.architecture
    shared_NK = logits(
        lambda x_NCHW: supernet.eval()(x_NCHW, architecture),
        eval_batches(test, images.info, EVAL_BATCH),
    )
    plain_NK = logits(subnet.eval(), eval_batches(test, images.info, EVAL_BATCH))
    limits = Limits(
        scaled(params.slice_difference, shared_NK),
        params.slice_agreement,
        params.slice_accuracy_drop,
    )
    labels_N = np.asarray(test.labels_N)
    check = compare("supernet slice", "subnet", shared_NK, plain_NK, labels_N, limits)
    check.require("Run the stage supernet again: its weights may be damaged.")
    return check


def read_teacher(folder: Path, images: Images) -> npt.NDArray[np.float32]:
    """Read the teacher's logits for every training image.

    Raises:
        FileFormatError: they are missing, or of another data set.
    """
    file = folder / "train_logits.npy"
    if not file.is_file():
        raise FileFormatError(f"{file}: no such file; run the teacher stage.")
    teacher_logits_NK: npt.NDArray[np.float32] = np.load(file, allow_pickle=False)
    wanted = (len(images.train), len(images.info.classes))
    if teacher_logits_NK.shape != wanted or teacher_logits_NK.dtype != np.float32:
        raise FileFormatError(
            f"{file} is {teacher_logits_NK.dtype} {teacher_logits_NK.shape}, not float32 {wanted}; "
            "run the teacher stage on this data set."
        )
    return teacher_logits_NK


def main() -> None:
    """Parse the flags, read, train, write."""
    parser = argparse.ArgumentParser(prog="python -m stages train", description=__doc__)
    for flag in (
        "--params",
        "--space",
        "--data",
        "--supernet",
        "--teacher",
        "--search",
        "--choice",
        "--out",
    ):
        parser.add_argument(flag, type=Path, required=True)
    args = parser.parse_args()
    params = read_section(args.params, "train", TrainParams)
    images = Images.open(args.data)
    check_parts(min(params.batch, len(images.train)), params.processes)
    if params.processes > 1 and not launched():
        relaunch("train", sys.argv[1:], params.processes, params.threads)
    prepare_machine(params.threads, params.seed)
    processes = join_processes("train", params.processes, torch.device("cpu"))
    space = SearchSpace.load(args.space, images.info.image_shape, len(images.info.classes))
    architecture = Choice.read(args.choice).architecture
    supernet = Supernet(space)
    own = supernet_file(args.supernet, args.search)
    load_into(supernet, own)
    files = (args.space, args.data, own, args.teacher)
    inputs = fingerprint(inputs_fingerprint("train", params, *files), architecture.to_json())
    # Not with several processes: one might find a finished run that another one just missed.
    lock = nullcontext() if processes.count > 1 else lock_inputs(args.out, inputs)
    with lock:
        finished = copy_finished_run(args.out, inputs) if processes.count == 1 else None
        if finished is not None:
            print(f"the same training was already run for '{finished.name}': reusing its network.")
        else:
            objective = build_objective(params, images, args.teacher)
            slice_and_train(
                supernet, architecture, images, objective, params, args.out, inputs, processes
            )
        if processes.first:
            record_inputs(args.out, inputs)


def slice_and_train(
    supernet: Supernet,
    architecture: Architecture,
    images: Images,
    objective: Objective,
    params: TrainParams,
    out: Path,
    inputs: str,
    processes: Processes,
) -> None:
    """Slice, train, and write the stage's files."""
    checkpoint = Checkpoint(out, inputs)
    network = extract(supernet, architecture)
    check = compare_slice(supernet, network, images, params)
    shrink_and_perturb(network, params.slice_share, torch.Generator().manual_seed(params.seed))
    run = train_network(network, images, objective, params, checkpoint, processes)
    processes.leave()
    if not processes.first:
        return
    write_bytes(out / "model.safetensors", to_bytes(network))
    write_json(out / "architecture.json", SCHEMA, architecture.to_json())
    write_json(out / "train.json", TRAIN, summary(network, images, params, check))
    write_json(out / "history.json", HISTORY, {"steps": history_rows(run)})
    checkpoint.clear()


def summary(
    network: Subnet,
    images: Images,
    params: TrainParams,
    check: EquivalenceCheck,
) -> dict[str, Any]:
    """The content of `train.json`."""
    return {
        "architecture_id": network.architecture.id,
        "short": network.architecture.short(),
        "accuracy": {split: rounded(images.accuracy(network, split)) for split in ("val", "test")},
        "slice": check.to_json(),
        "epochs": params.epochs,
        "flops": flops(network.architecture),
        "parameters": parameters(network.architecture),
    }
