"""Is a delivered network better than EfficientNet-Lite0, fine-tuned as a user would?

`python -m benchmarks.transfer_learning --artifacts FOLDER --device NAME` compares the bundle of a
finished release with EfficientNet-Lite0, fine-tuned from ImageNet weights on the same training
images by plain PyTorch with the machine's threads (AdamW, one cycle, the data set's augmentation,
five epochs), at several sizes of the images. The latencies are measured in turn on one thread of
ONNX Runtime; the training images train, the test images choose nothing. Nothing else should run on
the machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from benchmarks.harness.compare import Difference
from benchmarks.harness.flags import add_artifacts, flags_of, words
from benchmarks.harness.markdown import table, write_sections
from benchmarks.harness.runs import Row, Runs
from benchmarks.harness.timing import Timing, interleaved
from bundles.archive import read_archive
from core.errors import UserError
from core.files import write_bytes
from core.process import prepare_machine
from core.progress import Progress
from core.system import core_count
from data.stream import TrainStream, eval_batches, resize
from devices.runtimes.onnxruntime.session import OnnxRuntimeSession
from models.nets.onnx_export import to_onnx
from models.nets.pretrained.efficientnet_lite0 import EfficientNetLite0
from models.nets.pretrained.match import start_from
from models.nets.supernet import Supernet, extract
from models.space.costs import block_flops
from models.space.file import PRESETS
from models.space.space import SearchSpace
from models.training.learning import Images

DELIVERED = "delivered"
BATCH, RATE, DECAY, SMOOTHING = 32, 0.002, 0.01, 0.1
"""Of the fine-tuning: the defaults of a pretrained start, with half of their batch."""


def lite0(images: Images, seed: int) -> nn.Module:
    """EfficientNet-Lite0 with ImageNet weights and a new last layer, for images of any size."""
    space = SearchSpace.load(PRESETS / "lite.yaml", images.image_shape, len(images.info.classes))
    supernet = Supernet(space, torch.Generator().manual_seed(seed))
    weights = EfficientNetLite0().read(Path())
    start_from(supernet, space, weights, images.info.mean, images.info.std)
    return extract(supernet, space.extreme(block_flops, largest=True))


def fine_tune(images: Images, pixels: int, epochs: int, seed: int) -> tuple[nn.Module, float]:
    """Train it on the training images, with a thread per core; returns it, and the seconds."""
    prepare_machine(core_count(), seed)
    network = lite0(images, seed).to(memory_format=torch.channels_last).train()
    stream = TrainStream(images.train, images.info, BATCH, seed, augment=True)
    steps = epochs * stream.steps_per_epoch
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    began = time.perf_counter()
    with Progress(f"Lite0 at {pixels} pixels", steps) as progress:
        for step in range(steps):
            batch = stream.at(step)
            logits_NK = network(resize(batch.images_NCHW, pixels))
            loss = nn.functional.cross_entropy(logits_NK, batch.labels_N, label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            cycle.step()
            progress.update(step + 1)
    return network.eval(), time.perf_counter() - began


def right(session: OnnxRuntimeSession, images: Images, pixels: int) -> list[float]:
    """For every test image whether its answer is right, 1 or 0."""
    found: list[float] = []
    for batch in eval_batches(images.test, images.info, 1):
        answer = session(resize(batch.images_NCHW, pixels).numpy()).argmax()
        found.append(float(answer == batch.labels_N[0]))
    return found


def run_lite0(images: Images, pixels: int, epochs: int, seed: int, file: Path) -> Row:
    """Fine-tune, write the network to `file`, and judge it on the test images."""
    network, seconds = fine_tune(images, pixels, epochs, seed)
    write_bytes(file, to_onnx(network, (images.image_shape[0], pixels, pixels)))
    session = OnnxRuntimeSession(file, threads=1)
    return {"seconds": seconds, "right": right(session, images, pixels)}


def delivered_file(artifacts: Path, device: str, folder: Path) -> Path:
    """The delivered model of a device's bundle, which ONNX Runtime must be able to read."""
    archive = read_archive(artifacts / "bundle" / device / f"{device}.tar.gz")
    name = next(iter(archive.read_json("manifest.json")["model"]["files"]), "no model")
    if not name.endswith(".onnx"):
        raise UserError(f"{device} delivers {name}, but this benchmark compares ONNX models.")
    write_bytes(folder / name, archive.files[name])
    return folder / name


def latencies(
    files: Mapping[str, tuple[Path, int]], channels: int, blocks: int
) -> dict[str, Timing]:
    """Interleaved latency of a forward pass on one thread, by name."""
    calls = {}
    for name, (file, pixels) in files.items():
        session = OnnxRuntimeSession(file, threads=1)
        image = np.zeros((1, channels, pixels, pixels), np.float32)
        calls[name] = partial(session, image)
    return interleaved(calls, blocks, calls=20)


def page(rows: Mapping[str, Row], times: Mapping[str, Timing], full: str) -> str:
    """Accuracy, latency and training time of each, and the delivered network's lead."""
    lines = []
    for name, row in rows.items():
        gap = Difference.of(rows[DELIVERED]["right"], row["right"])
        lead = "-" if name == DELIVERED else f"{gap.shown(1, 100)}, {gap.verdict}"
        share, _ = times[name].over(times[full])
        minutes = "-" if row["seconds"] is None else f"{row['seconds'] / 60:.1f}"
        accuracy = f"{statistics.fmean(row['right']):.4f}"
        lines.append(
            [name, accuracy, lead, f"{1e3 * times[name].seconds:.2f}", f"{share:.2f}", minutes]
        )
    head = (
        "network",
        "test accuracy",
        "delivered minus this, points (95%)",
        "ms",
        f"of {full}",
        "training, min",
    )
    return table(head, lines)


def main() -> None:
    """Fine-tune, compare, and write the page."""
    parser = flags_of("transfer_learning", __doc__, "transfer-learning.md")
    add_artifacts(parser)
    parser.add_argument("--device", default="desktop-cpu", help="whose bundle is compared")
    parser.add_argument("--sizes", default="96,64", help="of Lite0's images, in pixels")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--blocks", type=int, default=9, help="of the interleaved timing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--title", default="photographs", help="of the section")
    parser.add_argument("--work", type=Path, required=True, help="folder of finished runs")
    args = parser.parse_args()
    images = Images.read(args.artifacts / "data")
    channels, full, _ = images.image_shape
    done = Runs(args.work, images.info.model_dump_json(), args.epochs, args.seed)
    files, rows = dict[str, tuple[Path, int]](), dict[str, Row]()
    with TemporaryDirectory() as folder:
        files[DELIVERED] = (delivered_file(args.artifacts, args.device, Path(folder)), full)
        session = OnnxRuntimeSession(files[DELIVERED][0], threads=1)
        rows[DELIVERED] = {"seconds": None, "right": right(session, images, full)}
        for pixels in map(int, words(args.sizes)):
            name = f"Lite0, {pixels} pixels"
            file = done.folder / f"lite0-{pixels}.onnx"
            files[name] = (file, pixels)
            compute = partial(run_lite0, images, pixels, args.epochs, args.seed, file)
            rows[name] = done.get(name, compute)
        times = latencies(files, channels, args.blocks)
    first = list(rows)[1]
    text = (
        f"{len(images.train):,} training and {len(images.test):,} test images of "
        f"{len(images.info.classes)} classes; Lite0 fine-tuned for {args.epochs} epochs, seed "
        f"{args.seed}. The intervals are over test images, not over trainings: one of each.\n\n"
        + page(rows, times, first)
    )
    write_sections(args.out, "Against fine-tuning EfficientNet-Lite0", {args.title: text})


if __name__ == "__main__":
    main()
