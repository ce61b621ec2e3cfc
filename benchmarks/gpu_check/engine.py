"""TensorRT engines of a small network: built, run against the ONNX file's outputs, and timed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu_check.images import CLASSES, learnable_images
from benchmarks.gpu_check.record import Outcome, Value
from benchmarks.harness.presets import COMPACT
from core.checkpoint import Checkpoint
from core.files import write_bytes
from devices.device import Budget, Device, DeviceError, Precision
from devices.measure.inference import reference_logits, single_images
from devices.measure.settings import ExportParams
from devices.measure.target import open_target
from devices.quantize.static import quantize_static, to_float16
from devices.runtimes.registry import backend
from devices.runtimes.tensorrt.session import REGULAR, RTX, gpu_capability, installed
from models.nets.equivalence import compare
from models.nets.onnx_export import to_onnx
from models.nets.subnet import Subnet
from models.training.learning import Images
from models.training.network import train_network
from models.training.objective import Objective
from models.training.settings import TrainParams

NAME = "tensorrt"
AHEAD = ("SM86", "SM89")
"""Built for where there is no GPU; the second also beside the local GPU's own capability, so that
the engine is TensorRT-RTX's: the regular TensorRT builds for the local GPU alone."""
_CALIBRATION = 32
_HALF_ONLY = "SM75"  # no float32 matrix product in TensorRT-RTX


def check_rtx(device: torch.device) -> Outcome:
    """Engines of TensorRT-RTX; without a GPU they are only built, ahead of time."""
    del device  # the driver is asked, as a release does
    own = gpu_capability()
    if not installed(RTX):
        return Outcome(skipped=f"{RTX} is not installed: {backend(NAME).install_hint}")
    other = next(name for name in AHEAD if name != own)
    return _check(AHEAD if own is None else (own, other), own)


def check_regular(device: torch.device) -> Outcome:
    """Engines of the regular TensorRT for this GPU."""
    del device
    own = gpu_capability()
    if not installed(REGULAR):
        return Outcome(
            skipped="the regular TensorRT is not installed: pip install tensorrt (its libraries "
            "come from NVIDIA's package index)"
        )
    if own is None:
        return Outcome(skipped="the regular TensorRT builds for the local GPU alone")
    return _check((own,), own)


def _check(capabilities: tuple[str, ...], own: str | None) -> Outcome:
    precisions: tuple[Precision, ...] = ("float32", "float16", "int8")
    if own == _HALF_ONLY:
        precisions = ("float16",)
    try:
        backend(NAME).check(device_for(capabilities, precisions[0]))
    except DeviceError as error:  # such as a GPU that the package does not know
        return Outcome(skipped=str(error))
    with tempfile.TemporaryDirectory() as name:
        folder, images = Path(name), learnable_images()
        sources = precision_files(images, folder)
        values, entries = list[Value](), dict[Precision, Path]()
        for precision in precisions:
            where = folder / f"{precision}-engine"
            where.mkdir()
            device = device_for(capabilities, precision)
            built = backend(NAME).build(sources[precision], precision, where, device)
            entries[precision] = where / built.entry
            values.append(Value.of(f"{precision}: layers", sum(built.details["layers"].values())))
            if own is not None:
                values += against_source(device, precision, sources[precision], where / built.entry)
        if own is not None:
            values += latencies(device_for(capabilities, precisions[0]), entries)
    return Outcome(values=tuple(values))


def device_for(capabilities: tuple[str, ...], precision: Precision) -> Device:
    """A device of these GPUs, without requirements."""
    return Device(
        backend=NAME,
        budget=Budget(flops=1),
        min_accuracy=0.0,
        compute_capabilities=capabilities,
        precision=precision,
    )


def precision_files(images: Images, folder: Path) -> dict[Precision, Path]:
    """A briefly trained network of `compact` as ONNX files, by precision."""
    network = Subnet(COMPACT.load().sample(np.random.default_rng(0)))
    params = TrainParams(epochs=2, min_steps=1, batch=32, recalibration_batches=4)
    checkpoint = Checkpoint(folder / "network", "")
    train_network(network, images, Objective(CLASSES), params, checkpoint)
    files: dict[Precision, Path] = {
        "float32": folder / "float32.onnx",
        "float16": folder / "float16.onnx",
        "int8": folder / "int8.onnx",
    }
    write_bytes(files["float32"], to_onnx(network, images.image_shape))
    to_float16(files["float32"], files["float16"])
    calibration = list(single_images(images.train, images.info))[:_CALIBRATION]
    quantize_static(files["float32"], files["int8"], calibration, backend(NAME).activations)
    return files


def against_source(device: Device, precision: Precision, source: Path, entry: Path) -> list[Value]:
    """The engine's logits on the test images against the file it was built from."""
    images = learnable_images()
    expected_NK = reference_logits(source, images.test, images.info)
    found_NK = open_target(NAME, device).outputs(entry, single_images(images.test, images.info))
    limits = ExportParams().limits.of(precision, expected_NK)
    check = compare("ONNX", "engine", expected_NK, found_NK, images.test.labels_N, limits)
    assert check.max_difference is not None
    assert check.agreement is not None
    assert check.accuracy is not None
    assert check.accuracy_before is not None
    lost = check.accuracy_before - check.accuracy
    return [
        Value.of(f"{precision}: logits differ by", check.max_difference, limits.max_difference),
        Value.of("other classes", 1 - check.agreement, round(1 - limits.agreement, 6)),
        Value.of("accuracy lost", lost, limits.accuracy_drop),
    ]


def latencies(device: Device, entries: Mapping[Precision, Path]) -> list[Value]:
    """Milliseconds per image at batch 1, with the copies, by the protocol of `export`."""
    first = next(iter(entries.values()))
    models = {str(precision): entry for precision, entry in entries.items()}
    found = open_target(NAME, device).measure(models, first, ExportParams().protocol)
    rows = [(f"{name} ms", row.ms, f"{name} +-", row.half_width) for name, row in found.items()]
    return [Value.of(*pair) for a, ms, b, share in rows for pair in ((a, ms), (b, share))]
