"""The teacher stage: a network that knows the data set, and its opinion of every training image."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from data.stream import eval_batches
from models.evaluate import accuracy, logits
from stages.common.checkpoint import Checkpoint
from stages.common.files import FileFormatError, rounded, write_array, write_bytes, write_json
from stages.common.learning import Images, history_rows, inputs_fingerprint
from stages.common.params import read_section
from stages.common.runtime import prepare_machine
from stages.common.schemas import HISTORY, TEACHER
from stages.teacher.elsewhere import from_onnx, from_torchvision
from stages.teacher.params import TeacherParams
from stages.teacher.source import Given, Taught
from stages.teacher.space import largest

SOURCES: Mapping[str, Callable[[Given, TeacherParams, Checkpoint], Taught]] = {
    "space": largest,
    "torchvision": from_torchvision,
    "onnx": from_onnx,
}


def main() -> None:
    """Parse the flags, read, train, write."""
    parser = argparse.ArgumentParser(prog="python -m stages.teacher", description=__doc__)
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
    given = Given(images, args.space, args.supernet, args.file)
    write(args.out, params, images, SOURCES[params.source](given, params, checkpoint))
    checkpoint.clear()


def write(out: Path, params: TeacherParams, images: Images, taught: Taught) -> None:
    """Ask the teacher about every image, and write it down with the teacher.

    Raises:
        FileFormatError: it does not answer in the data set's classes.
    """
    found = {}
    for split, some in (("val", images.val), ("test", images.test)):
        batches = eval_batches(some, images.info, taught.batch)
        found[split] = rounded(accuracy(taught.teacher, batches))
    train_logits_NK = logits(taught.teacher, eval_batches(images.train, images.info, taught.batch))
    if train_logits_NK.shape != (len(images.train), len(images.info.classes)):
        raise FileFormatError(
            f"the teacher answers with {train_logits_NK.shape[1]} numbers an image, and the data "
            f"set has {len(images.info.classes)} classes."
        )
    for name, content in taught.files.items():
        write_bytes(out / name, content)
    summary = {"source": params.source, "accuracy": found, **taught.summary}
    write_json(out / "teacher.json", TEACHER, summary)
    write_array(out / "train_logits.npy", train_logits_NK)
    steps = [] if taught.run is None else history_rows(taught.run)
    write_json(out / "history.json", HISTORY, {"steps": steps})
