"""Small fixtures for the stages search and rank: 16-pixel digits, a tiny space, one device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from core.files import write_bytes, write_json
from devices.latency.table import Correction, HeldOut, LatencyTable
from devices.measure.reference import LATENCY
from models.nets.supernet import Supernet
from models.nets.weights import to_bytes
from models.search.settings import SearchParams
from models.space.costs import block_flops
from models.space.space import SearchSpace
from tests.support import ROOT
from tests.worlds import kill_after, search_params, write_digits

SPACE = """
name: tiny
sizes: [8, 64]
stem: {operator: conv, channels: 8, stride: 2, settings: {kernel: 3}}
stages:
  - {layers: 2, stride: 2, channels: [8, 12], skip: true, operators: {mbconv: {kernel: [3, 5], expansion: [2, 4]}}}
  - {layers: 2, stride: 2, channels: [12, 16], skip: true, operators: {mbconv: {kernel: [3, 5], expansion: [2, 4]}}}
head: {operator: classifier, settings: {width: 16}}
"""  # noqa: E501
PARAMS = """
search: {algorithm: {name: fp_nas, learning_rate: 1.0, samples_per_nat: 0.5, min_samples: 2,
  max_samples: 8}, steps: 30, batch: 64, candidates: 5, checkpoint_every: 1}
rank: {indicator: supernet_log_likelihood, recalibration_batches: 2, batch: 64}
devices:
  phone: {backend: onnxruntime, budget: {latency_ms: 0.06}, min_accuracy: 0.5}
  watch: {backend: onnxruntime, budget: {latency_ms: 0.001}, min_accuracy: 0.5}
  gpu: {backend: tensorrt, budget: {latency_ms: 0.06, flops: 90000}, min_accuracy: 0.5}
"""


@dataclass(frozen=True)
class World:
    """Paths of the fixtures, and how a stage is started."""

    root: Path
    space: SearchSpace

    def flags(self, stage: str, out: Path, device: str = "phone", **changes: Path) -> list[str]:
        paths = {
            "params": self.root / "params.yaml",
            "space": self.root / "space.yaml",
            "data": self.root / "data",
            "supernet": self.root / "supernet",
            "out": out,
        }
        if stage == "search":
            profile = "unmeasured" if device == "gpu" else "profile"
            paths["profile"] = self.root / profile
            paths["start"] = ROOT / "models/inputs/start"
        words = [f"--device={device}"] if stage == "search" else []
        return words + [f"--{name}={path}" for name, path in (paths | changes).items()]

    def kill_after(self, stage: str, flags: Sequence[str], saved: Callable[[], bool]) -> int:
        """Start a stage in its own process and kill it with -9 once `saved` holds."""
        return kill_after(stage, flags, saved)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    (root / "space.yaml").write_text(SPACE)
    (root / "params.yaml").write_text(PARAMS)
    write_digits(root / "data", zoom=2, std=0.35, shift=1)
    space = SearchSpace.load(root / "space.yaml", (1, 16, 16), 10)
    weights = to_bytes(Supernet(space, torch.Generator().manual_seed(0)))
    write_bytes(root / "supernet" / "supernet.safetensors", weights)
    table = LatencyTable(
        "phone",
        "onnxruntime",
        {block.key: round(block_flops(block) / 2e6, 6) for block in space.blocks()},
        {block.key: block_flops(block) for block in space.blocks()},
        {"float32": Correction(1.0, 0.0, 0.0, 0.001)},
        {"float32": HeldOut(0.0, 1.0, 1.0, ())},
    )
    write_json(root / "profile" / "latency.json", LATENCY, table.to_json())
    nothing = LatencyTable.unmeasured("gpu", "tensorrt")
    write_json(root / "unmeasured" / "latency.json", LATENCY, nothing.to_json())
    return World(root, space)


@pytest.fixture
def params() -> Callable[..., SearchParams]:
    """The section `search` of the small world for an algorithm, with changes."""
    section = YAML(typ="safe").load(PARAMS)["search"]
    usual = section | section["algorithm"] | {"fixed_samples": 3}
    return lambda algorithm, **changes: search_params(algorithm, usual, **changes)
