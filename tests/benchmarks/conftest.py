"""A tiny finished release on digits, for the benchmarks that read one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from sklearn.datasets import load_digits

from benchmarks.tabular.table import Table
from core.files import write_array, write_bytes, write_json
from data.dataset import Augment, DatasetInfo, images_file, labels_file
from devices.latency.table import LatencyTable
from devices.measure.reference import LATENCY
from models.nets.subnet import Subnet
from models.nets.supernet import Supernet
from models.nets.weights import to_bytes
from models.space.costs import flops
from models.space.file import PRESETS
from models.space.space import SearchSpace
from models.training.teachers.onnx import OnnxRecord
from models.training.teachers.view import TeacherInput
from tests.spaces import all_architectures, architecture_at
from tests.support import ROOT, merged
from tests.worlds import candidates_of, ranking_of

SPACE = """
name: tiny
sizes: [8, 64]
stem: {operator: conv, channels: 4, stride: 2, settings: {kernel: 3}}
stages:
  - {layers: 2, stride: 2, channels: [4, 8], skip: true, operators: {mbconv: {kernel: [3, 5], expansion: [2, 4]}}}
  - {layers: 2, stride: 1, channels: [8, 12], skip: true, operators: {mbconv: {kernel: [3, 5], expansion: [2, 4]}}}
head: {operator: classifier, settings: {width: 8}}
"""  # noqa: E501
BUDGET = 20_000
"""Multiply-accumulates."""
SMALL = {"recalibration_batches": 1, "batch": 32}
CHANGES = {
    "search": SMALL | {"fitness_images": 50, "steps": 6, "candidates": 2},
    "supernet": {"batch": 16},
    "rank": SMALL,
    "train": SMALL,
    "quantize": {"calibration_images": 50},
    "devices": {"gpu": {"backend": "tensorrt", "budget": {"flops": BUDGET}, "min_accuracy": 0.1}},
}


@pytest.fixture(scope="session")
def release_flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags of a tiny release: digits, an untrained supernet, a teacher, a chosen network."""
    root = tmp_path_factory.mktemp("release")
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    kept = {name: section for name, section in params.items() if name in CHANGES}
    YAML().dump(merged(kept | {"devices": {}}, CHANGES), root / "params.yaml")
    (root / "space.yaml").write_text(SPACE)
    space, artifacts = SearchSpace.load(root / "space.yaml", (1, 16, 16), 10), root / "artifacts"
    write_digits(artifacts / "data")
    weights = to_bytes(Supernet(space, torch.Generator().manual_seed(0)))
    write_bytes(artifacts / "supernet" / "supernet.safetensors", weights)
    write_array(artifacts / "teacher" / "train_logits.npy", np.zeros((200, 10), np.float32))
    same = TeacherInput(channels=None)
    teacher = OnnxRecord(accuracy={"test": 0.5}, input=same, outputs="logits")
    teacher.write(artifacts / "teacher")
    nothing = LatencyTable.unmeasured("gpu", "tensorrt")
    write_json(artifacts / "profile" / "gpu" / "latency.json", LATENCY, nothing.to_json())
    ranking_of(candidates_of([architecture_at(space, 7)])).write(artifacts / "rank" / "gpu")
    trained = Subnet(architecture_at(space, 7), torch.Generator().manual_seed(1))
    write_bytes(artifacts / "train" / "gpu" / "model.safetensors", to_bytes(trained))
    text = json.dumps(trained.architecture.to_json())
    (artifacts / "train" / "gpu" / "architecture.json").write_text(text)
    files = {"params": "params.yaml", "space": "space.yaml", "artifacts": "artifacts"}
    return [f"--{flag}={root / name}" for flag, name in files.items()] + ["--device=gpu"]


def write_digits(folder: Path, size: int = 2) -> None:
    """Digits of 8 pixels, each repeated `size` times."""
    digits = load_digits()
    parts = {"train": slice(200), "val": slice(200, 260), "test": slice(260, 360)}
    for name, part in parts.items():
        grey_NHW = np.kron(digits.images[part], np.ones((1, size, size)))
        images_NHWC = (grey_NHW[..., None] * 15.9).astype(np.uint8)
        write_array(folder / images_file(name), images_NHWC)  # type: ignore[arg-type]
        labels_N = digits.target[part].astype(np.int64)
        write_array(folder / labels_file(name), labels_N)  # type: ignore[arg-type]
    names, augment = tuple(map(str, range(10))), Augment(flip=False, shift=0)
    sizes: dict[str, Any] = {"counts": {}, "source": {}, "arrays": {}, "fit": "pad"}
    shape = (1, 8 * size, 8 * size)
    DatasetInfo(
        name="digits",
        image_shape=shape,
        classes=names,
        mean=(0.3,),
        std=(0.35,),
        augment=augment,
        **sizes,
    ).write(folder)


@pytest.fixture(scope="session")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """A table of the published form in which every digit is worth a point."""
    file = tmp_path_factory.mktemp("table") / "table.json"
    space = SearchSpace.load(PRESETS / "macro.yaml", (3, 32, 32), 10)
    rows = {}
    for number, architecture in enumerate(all_architectures(space)):  # as the digits count
        name = np.base_repr(number, 3).zfill(8)
        worth = 70.0 + sum(map(int, name))
        accuracies = [worth - 0.3, worth, worth + 0.3]
        rows[name] = {"test_acc": accuracies, "flops": flops(architecture)}
    file.write_text(json.dumps(rows))
    return Table.load(file)
