"""Fixtures: one small network trained on digits, quantised, exported and bundled."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from sklearn.datasets import load_digits

from core.files import sha256_file, write_array, write_bytes, write_json
from core.stage import run_stage
from data.dataset import SPLITS, Augment, DatasetInfo, Split, images_file, labels_file
from data.images import resize_all
from data.stream import TrainStream
from devices.latency.table import Correction, LatencyTable
from devices.measure.fingerprint import machine_state
from models.nets.equivalence import AppliedLimits, EquivalenceCheck
from models.nets.onnx_export import to_onnx
from models.nets.subnet import Subnet
from models.nets.weights import to_bytes
from models.search.choice import Choice
from models.search.rank.certificate import CertificateRecord
from models.space.architecture import Architecture
from models.space.costs import block_flops
from models.space.space import SearchSpace
from models.training.record import SplitAccuracy, TrainRecord
from stages.bundle import bundle
from stages.export import export
from stages.quantize import quantize
from stages.release import release
from tests.support import built_once

ROOT = Path(__file__).resolve().parents[2]
SIZE = 28
QUICK = {"blocks": 3, "calls": 10, "time_limit_s": 0.1}
DEVICES = {
    "cpu": {
        "backend": "onnxruntime",
        "budget": {"latency_share": 0.5, "size_mb": 5.0, "memory_mb": 1.0},
        "min_accuracy": 0.5,
        "max_accuracy_drop": 0.2,
    },
    "edge": {
        "backend": "openvino",
        "budget": {"latency_ms": 50.0},
        "precision": "int8",
        "min_accuracy": 0.5,
    },
    "gpu": {
        "backend": "tensorrt",
        "compute_capabilities": ["SM86", "SM89"],
        "budget": {"flops": 10},
        "min_accuracy": 0.5,
        "max_accuracy_drop": 0.2,
    },
    "dsp": {
        "backend": "qnn",
        "dsp_architectures": ["v73", "v81"],
        "budget": {"flops": 10**9},
        "min_accuracy": 0.5,
        "max_accuracy_drop": 0.2,
    },
}
DEVICES["phone"] = DEVICES["edge"] | {"backend": "litert"}
NOT_MEASURED = ("gpu", "dsp")


@dataclass(frozen=True)
class World:
    """A folder with the outputs of the stages before `quantize`, and methods to run stages."""

    root: Path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    def run(self, stage, device: str, out: Path, **inputs: Path) -> Path:
        """Run a stage of a device by its flags; returns `out`."""
        flags = {"params": self.params, "device": device, **inputs, "out": out}
        run_stage(stage, [f"--{name}={value}" for name, value in flags.items()])
        return out

    def out(self, stage: str, device: str) -> Path:
        return self.root / stage / device

    def quantize(self, device: str, out: Path | None = None) -> Path:
        return self.run(
            quantize,
            device,
            out or self.out("quantize", device),
            data=self.root / "data",
            model=self.root / "train",
            profile=self.out("profile", device),
        )

    def export(self, device: str, out: Path | None = None) -> Path:
        return self.run(
            export,
            device,
            out or self.out("export", device),
            data=self.root / "data",
            model=self.out("quantize", device),
            profile=self.out("profile", device),
        )

    def bundle(self, device: str, out: Path | None = None) -> Path:
        shared = {name: self.root / name for name in ("data", "rank", "train")}
        own = {name: self.out(name, device) for name in ("profile", "quantize", "export")}
        choice = self.root / "rank" / "choice.json"
        folder = out or self.out("bundle", device)
        certificate = self.root / "rank" / "certificate.json"
        self.run(bundle, device, folder, choice=choice, certificate=certificate, **shared, **own)
        return folder / f"{device}.tar.gz"

    def release(self, out: Path) -> Path:
        flags = {"params": self.params, "bundles": self.root / "bundle", "out": out}
        run_stage(release, [f"--{name}={value}" for name, value in flags.items()])
        return out


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    """Data, a trained network, and outputs of profile and rank; nothing quantised yet.

    All processes that run the tests share it: tests change copies only.
    """
    return World(built_once(tmp_path_factory, "world", build_world))


def build_world(root: Path) -> None:
    torch.set_num_threads(1)
    info, train = write_digits(root / "data")
    architecture = smallest()
    network = fit(architecture, train, info)
    write_bytes(root / "train" / "model.safetensors", to_bytes(network))
    plain = architecture.to_json()
    write_json(root / "train" / "architecture.json", plain.pop("schema"), plain)
    train_record(architecture).write(root / "train")
    write_rank(root / "rank", architecture)
    for device, settings in DEVICES.items():
        table = LatencyTable.unmeasured(device, settings["backend"])
        if device == "cpu":
            table = profiled(architecture)
        content = table.to_json()
        if device not in NOT_MEASURED:
            content |= {"reference_ms": 0.05, "machine": machine_state(settings["backend"], 1)}
            content |= {"reference": architecture.to_json()}
            reference = to_onnx(Subnet(architecture), info.image_shape)
            write_bytes(root / "profile" / device / "reference.onnx", reference)
        write_json(root / "profile" / device / "latency.json", "netwright/latency/1", content)
    write_params(root / "params.yaml", DEVICES)


@pytest.fixture(scope="session")
def bundles(world: World, tmp_path_factory) -> dict[str, Path]:
    """The archive of every device."""

    def build(_: Path) -> None:
        for device in DEVICES:
            world.quantize(device)
            world.export(device)
            world.bundle(device)

    built_once(tmp_path_factory, "bundles", build)
    return {device: world.out("bundle", device) / f"{device}.tar.gz" for device in DEVICES}


def write_params(path: Path, devices: dict) -> None:
    yaml = YAML(typ="safe", pure=True)
    content = yaml.load(ROOT / "params.yaml")
    content["devices"] = devices
    # Without entropy, which takes seconds per network; tested in tests/devices.
    methods = ["minmax", "percentile"]
    content["quantize"] |= QUICK | {"calibration_images": 64, "methods": methods}
    content["export"] |= QUICK | {"emulated_images": 40}
    content["bundle"] |= {"golden_images": 6}
    with path.open("w") as file:
        yaml.dump(content, file)


def write_digits(folder: Path) -> tuple[DatasetInfo, Split]:
    digits = load_digits()
    grey_NHWC = (digits.images * 255 / 16).astype(np.uint8)[..., None]
    images_NHWC = resize_all(grey_NHWC, SIZE)[:]
    labels_N = digits.target.astype(np.int64)
    starts = {"train": slice(0, 1400), "val": slice(1400, 1600), "test": slice(1600, None)}
    pixels = images_NHWC[starts["train"]] / 255
    for name in SPLITS:
        write_array(folder / images_file(name), images_NHWC[starts[name]])
        write_array(folder / labels_file(name), labels_N[starts[name]])
    counts = {
        name: {str(k): int((labels_N[starts[name]] == k).sum()) for k in range(10)}
        for name in SPLITS
    }
    info = DatasetInfo(
        name="digits",
        image_shape=(1, SIZE, SIZE),
        classes=tuple(str(k) for k in range(10)),
        mean=(round(float(pixels.mean()), 6),),
        std=(round(float(pixels.std()), 6),),
        counts=counts,
        augment=Augment(flip=False, shift=0),
        fit="crop",
        source={},
        arrays={f.name: sha256_file(f) for f in sorted(folder.glob("*.npy"))},
    )
    info.write(folder)
    return info, Split(images_NHWC[starts["train"]], labels_N[starts["train"]])


def smallest() -> Architecture:
    space = SearchSpace.load(ROOT / "models" / "spaces" / "compact.yaml", (1, SIZE, SIZE), 10)
    return space.extreme(lambda block: float(block_flops(block)))


def fit(architecture: Architecture, train: Split, info: DatasetInfo) -> Subnet:
    network = Subnet(architecture, torch.Generator().manual_seed(0))
    stream = TrainStream(train, info, 64, seed=0, augment=False)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    network.train()
    for step in range(3 * stream.steps_per_epoch):
        batch = stream.at(step)
        loss = torch.nn.functional.cross_entropy(network(batch.images_NCHW), batch.labels_N)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def train_record(architecture: Architecture) -> TrainRecord:
    check = EquivalenceCheck(
        source="supernet slice",
        target="subnet",
        max_difference=1e-6,
        agreement=1.0,
        accuracy=0.9,
        accuracy_before=0.9,
        images=100,
        limit=AppliedLimits(max_difference=0.01, agreement=0.99, accuracy_drop=0.01),
        passed=True,
    )
    return TrainRecord(
        architecture_id=architecture.id,
        short=architecture.short(),
        accuracy=SplitAccuracy(val=0.9, test=0.9),
        slice=check,
        epochs=3,
        flops=1,
        parameters=1,
    )


def profiled(architecture: Architecture) -> LatencyTable:
    """A table with 0.1 ms per block in float32, and 0.05 ms in int8.

    The space's largest network takes 100 ms.
    """
    blocks = {block.key: 0.1 for block in architecture.present}
    rows = {"float32": Correction(1.0, 0.0, 0.0, 0.0), "int8": Correction(0.5, 0.0, 0.0, 0.0)}
    macs = dict.fromkeys(blocks, 0)
    return LatencyTable("cpu", "onnxruntime", blocks, macs, rows, {}, largest_ms=100.0)


def write_rank(folder: Path, architecture: Architecture) -> None:
    Choice.of(architecture, "the best of 1 candidate", None).write(folder / "choice.json")
    row = {"architecture_id": architecture.id, "short": architecture.short(), "scores": {}}
    write_json(folder / "ranking.json", "netwright/ranked/1", {"ranked": [row]})
    CertificateRecord(
        num_architectures=0,
        tau={},
        best_baseline=None,
        beats_best_baseline={},
        tau_above={},
        statement="There is no evidence.",
        evidence="None.",
        truth=(),
    ).write(folder)
