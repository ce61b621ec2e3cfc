"""What benchmarks on a real supernet share: a finished release, kept runs, a final training."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.checkpoint import Checkpoint
from core.files import fingerprint, write_json
from core.settings import read_section
from devices.measure.agent.onnx_session import session_options
from models.nets.subnet import Subnet
from models.nets.supernet import Supernet
from models.nets.weights import load_into, to_bytes
from models.space.space import SearchSpace
from models.training.learning import Images
from models.training.network import build_objective, train_network
from models.training.settings import TrainParams

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = "netwright/search-benchmark/1"


@dataclass(frozen=True)
class Setting:
    """What all searches share.

    Attributes:
        images: the prepared data set.
        space: the architectures.
        supernet: trained; nobody changes it.
        artifacts: where everything lies.
        params: the file of params.
        device: whose budget is kept.
    """

    images: Images
    space: SearchSpace
    supernet: Supernet
    artifacts: Path
    params: Path
    device: str

    @classmethod
    def open(cls, args: argparse.Namespace) -> Setting:
        """Read a finished release's artifacts."""
        images = Images.read(args.artifacts / "data")
        space = SearchSpace.load(args.space, images.info.image_shape, len(images.info.classes))
        supernet = Supernet(space)
        load_into(supernet, args.artifacts / "supernet" / "supernet.safetensors")
        return cls(images, space, supernet, args.artifacts, args.params, args.device)

    def kept_in(self, work: Path, *values: float) -> Path:
        """The folder of runs with these very inputs; others' runs are never taken for these.

        Args:
            work: where all such folders lie.
            values: settings that count besides.
        """
        read = (
            "data/dataset.json",
            "supernet/supernet.safetensors",
            "teacher/train_logits.npy",
            f"profile/{self.device}/latency.json",
        )
        files = [self.params, *(self.artifacts / name for name in read)]
        folder = work / fingerprint(self.device, self.space.name, values, *files)[:12]
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def accuracy_of(
    setting: Setting, network: Subnet, seed: int, epochs: float, work: Path
) -> dict[str, float]:
    """Test accuracy after a training from the weights that the network has; resumable."""
    section = read_section(setting.params, "train", TrainParams)
    params = section.model_copy(update={"epochs": epochs, "seed": seed})
    objective = build_objective(
        params, setting.images, setting.artifacts / "teacher", session_options
    )
    architecture = network.architecture
    known = fingerprint(params.model_dump(), architecture.to_json(), to_bytes(network).hex())
    checkpoint = Checkpoint(work / f"{architecture.id}-{seed}", known)
    train_network(network, setting.images, objective, params, checkpoint)
    checkpoint.clear()
    return {"accuracy": setting.images.accuracy(network, "test")}


def kept(file: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a JSON file holds; made and written first where there is none."""
    if not file.is_file():
        write_json(file, SCHEMA, make())
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
