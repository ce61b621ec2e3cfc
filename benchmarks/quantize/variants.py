"""Networks, their int8 files for one family of runtimes, and what each runtime makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.harness.presets import any_device, torchvision_network
from core.files import fingerprint, write_bytes
from core.progress import Progress
from data.stream import TrainStream
from devices.device import Activations, DeviceError
from devices.measure.inference import Images as ImageBatch
from devices.measure.inference import Logits, accuracy, single_images
from devices.measure.interleaved import Protocol
from devices.measure.target import LocalTarget
from devices.quantize.calibration import calibration_images
from devices.quantize.settings import QuantizeParams
from devices.quantize.static import calibrate, quantize
from devices.runtimes.base import Backend, Built
from devices.runtimes.registry import backend
from models.nets.onnx_export import to_onnx
from models.nets.subnet import Subnet
from models.nets.weights import load_into, to_bytes
from models.training.learning import Images
from models.training.loop import Recipe, Run, train
from models.training.objective import Objective, supervised_step


@dataclass(frozen=True)
class Training:
    """How a network of torchvision is trained: with the project's own trainer."""

    epochs: float = 0.5
    batch: int = 64
    learning_rate: float = 0.1
    weight_decay: float = 0.00005
    seed: int = 0


@dataclass(frozen=True)
class Network:
    """A trained network in evaluation mode, named after its device, or as torchvision does."""

    name: str
    module: nn.Module


def trained_folders(artifacts: Path) -> list[Path]:
    """Folders of the networks that a release trained."""
    return sorted(path for path in (artifacts / "train").iterdir() if path.is_dir())


def searched(folder: Path) -> Network:
    """A network that the stage `train` left in a folder, named after the folder."""
    return Network(folder.name, Subnet.read(folder))


def train_torchvision(name: str, images: Images, training: Training, cache: Path) -> Network:
    """A network of torchvision, trained on the images, or read from the cache of weights."""
    classes = len(images.info.classes)
    network = torchvision_network(name, images.info.image_shape[0], classes, training.seed)
    key = fingerprint(name, vars(training), images.info.arrays, torch.__version__)
    file = cache / f"{name}-{key[:12]}.safetensors"
    if not file.is_file():
        torch.manual_seed(training.seed)  # for dropout
        stream = TrainStream(images.train, images.info, training.batch, training.seed, True)
        steps = max(1, round(training.epochs * stream.steps_per_epoch))
        recipe = Recipe(steps, training.learning_rate, weight_decay=training.weight_decay)
        learn = supervised_step(network, Objective(classes))
        with Progress(f"train {name}", steps, interval=10.0) as progress:
            train(Run(network, recipe), stream.at, learn, report=progress.update)
        write_bytes(file, to_bytes(network))
    load_into(network, file)
    return Network(name, network.eval())


RUNTIMES = ("onnxruntime", "openvino", "litert", "executorch")


@dataclass(frozen=True)
class Effort:
    """Backends, protocol of latencies (None: not measured), calibration."""

    runtimes: tuple[str, ...]
    protocol: Protocol | None
    params: QuantizeParams


@dataclass(frozen=True)
class Row:
    """One file of one network on one runtime; None is what was not measured.

    `variant` is `float32` or `int8 METHOD`, `agreement` the share of images with the class that the
    float32 ONNX file has in ONNX Runtime, `speedup` the time of the runtime's float32 file over
    this one's, in interleaved blocks, `spread` that ratio's interquartile range over its median.
    """

    network: str
    runtime: str
    variant: str
    accuracy: float | None = None
    agreement: float | None = None
    size: int | None = None
    speedup: float | None = None
    spread: float | None = None
    why_not: str = ""


def rows_of(network: Network, images: Images, effort: Effort, folder: Path) -> Iterator[Row]:
    """All files of a network on all runtimes, float32 first on each."""
    source, made = folder / "float32.onnx", dict[Activations, tuple[str, Path]]()
    write_bytes(source, to_onnx(network.module, images.info.image_shape))
    test = list(single_images(images.test, images.info))
    reference_NK = logits(backend("onnxruntime"), source, test)
    for name in effort.runtimes:
        runtime, rows, entries = backend(name), list[Row](), dict[str, Path]()
        family = runtime.activations
        if family not in made:
            made[family] = best_int8(source, family, images, effort.params)
        method, file = made[family]
        for variant, onnx in {"float32": source, f"int8 {method}": file}.items():
            try:
                target, built = _build(folder, runtime, variant, onnx)
            except DeviceError as error:  # a runtime that cannot is a result, too
                rows.append(Row(network.name, name, variant, why_not=str(error)))
                continue
            entries[variant] = target / built.entry
            found_NK = logits(runtime, entries[variant], test)
            agreement = float((found_NK.argmax(1) == reference_NK.argmax(1)).mean())
            size = sum((target / part).stat().st_size for part in built.files)
            right = accuracy(found_NK, images.test)
            rows.append(Row(network.name, name, variant, right, agreement, size))
        yield from _timed(name, rows, entries, effort.protocol)


def best_int8(
    source: Path, activations: Activations, images: Images, params: QuantizeParams
) -> tuple[str, Path]:
    """The calibration method with the highest accuracy on validation images, and its file."""
    rng = np.random.default_rng(params.seed)
    rows = calibration_images(images.train, images.info, params.calibration_images, rng)
    ready = calibrate(source, rows, activations, params.methods, params.percentile)
    found: dict[str, tuple[float, Path]] = {}
    for method in ready.ranges:
        file = source.with_name(f"{activations}-{method}.onnx")
        write_bytes(file, quantize(ready, method))
        val_NK = logits(backend("onnxruntime"), file, single_images(images.val, images.info))
        found[method] = accuracy(val_NK, images.val), file
    best = max(found, key=lambda method: found[method][0])
    return best, found[best][1]


def _build(folder: Path, runtime: Backend, variant: str, file: Path) -> tuple[Path, Built]:
    target = folder / f"{runtime.name}-{variant.replace(' ', '-')}"
    target.mkdir()
    return target, runtime.build(file, variant.split()[0], target, any_device(runtime.name))


def logits(runtime: Backend, model: Path, images: Iterable[ImageBatch]) -> Logits:
    """Logits (images, classes) of a file on a runtime, on one thread."""
    with runtime.open(model, threads=1) as session:
        return np.concatenate([session(image_1CHW) for image_1CHW in images])


def _timed(
    runtime: str, rows: list[Row], entries: Mapping[str, Path], protocol: Protocol | None
) -> list[Row]:
    """The rows with the speed of int8 over the float32 file beside which each is measured."""
    lower = {variant: entry for variant, entry in entries.items() if variant != "float32"}
    if protocol is None or "float32" not in entries or not lower:
        return rows
    target = LocalTarget(runtime, any_device(runtime))
    found = target.measure(lower, entries["float32"], protocol)
    return [
        replace(row, speedup=1 / timing.ratio, spread=timing.spread)
        if (timing := found.get(row.variant))
        else row
        for row in rows
    ]
