"""The teacher stage: a teacher network and its logits for every training image."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from core.checkpoint import Checkpoint, inputs_fingerprint
from core.files import FileFormatError, rounded, write_array, write_bytes, write_json
from core.process import prepare_machine
from core.schemas import HISTORY, TEACHER
from core.settings import read_section
from data.stream import eval_batches
from devices.runtimes.onnxruntime.session import OnnxRuntimeSession
from models.nets.evaluate import accuracy, logits
from models.training.learning import Images, history_rows
from models.training.teachers.external import from_onnx, from_torchvision
from models.training.teachers.settings import TeacherParams
from models.training.teachers.source import Inputs, Result
from models.training.teachers.space import from_space

SOURCES: Mapping[str, Callable[[Inputs, TeacherParams, Checkpoint], Result]] = {
    "space": from_space,
    "torchvision": from_torchvision,
    "onnx": from_onnx,
}


def main() -> None:
    """Parse the flags, read, train, write."""
    parser = argparse.ArgumentParser(prog="python -m stages teacher", description=__doc__)
    for flag in ("--params", "--space", "--data", "--supernet", "--file", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    args = parser.parse_args()
    params = read_section(args.params, "teacher", TeacherParams)
    prepare_machine(params.threads, params.seed)
    images = Images.open(args.data)
    read = [args.space, args.data, args.supernet]
    if params.source != "space":
        read.append(args.file)
    checkpoint = Checkpoint(args.out, inputs_fingerprint("teacher", params, *read))
    inputs = Inputs(images, args.space, args.supernet, args.file, OnnxRuntimeSession)
    write(args.out, params, images, SOURCES[params.source](inputs, params, checkpoint))
    checkpoint.clear()


def write(out: Path, params: TeacherParams, images: Images, result: Result) -> None:
    """Evaluate the teacher and write it with its logits for the training images.

    Raises:
        FileFormatError: its number of outputs is not the number of classes.
    """
    found = {}
    for split, data in (("val", images.val), ("test", images.test)):
        batches = eval_batches(data, images.info, result.batch)
        found[split] = rounded(accuracy(result.teacher, batches))
    train_logits_NK = logits(result.teacher, eval_batches(images.train, images.info, result.batch))
    if train_logits_NK.shape != (len(images.train), len(images.info.classes)):
        raise FileFormatError(
            f"the teacher has {train_logits_NK.shape[1]} outputs per image, but the data set has "
            f"{len(images.info.classes)} classes."
        )
    for name, content in result.files.items():
        write_bytes(out / name, content)
    summary = {"source": params.source, "accuracy": found, **result.summary}
    write_json(out / "teacher.json", TEACHER, summary)
    write_array(out / "train_logits.npy", train_logits_NK)
    steps = [] if result.run is None else history_rows(result.run)
    write_json(out / "history.json", HISTORY, {"steps": steps})
