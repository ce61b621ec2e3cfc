"""Small fixtures for the training stages: 8-pixel digits and a tiny space."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from core.settings import read_section
from core.stage import run_stage
from devices.runtimes.onnxruntime.session import OnnxRuntimeSession
from models.search.choice import Choice
from models.search.race.networks import write_network
from models.search.race.training import Finished, Folders, Job, advance
from models.search.race.training import World as Trainings
from models.space.architecture import Architecture
from models.space.space import SearchSpace
from models.training.settings import TrainParams
from tests.spaces import architecture_at
from tests.worlds import write_digits

SPACE = """
name: tiny
sizes: [8, 64]
stem: {operator: conv, channels: 8, stride: 1, settings: {kernel: 3}}
stages:
  - {layers: 2, stride: 2, channels: [12, 16], skip: true,
     operators: {mbconv: {kernel: [3, 5], expansion: [2]}}}
head: {operator: classifier, settings: {width: 32}}
"""
LEARNING = {
    "min_steps": 1,
    "batch": 32,
    "momentum": 0.9,
    "weight_decay": 0.0001,
    "label_smoothing": 0.0,
    "warmup_fraction": 0.1,
    "checkpoint_every": 5,
}
PARAMS: dict[str, dict[str, Any]] = {
    "supernet": {
        **LEARNING,
        "strategy": "spos",
        "epochs": 3.0,
        "learning_rate": 0.1,
        "report_subnets": 2,
        "report_images": 100,
    },
    "teacher": {
        **LEARNING,
        "epochs": 3.0,
        "learning_rate": 0.1,
        "ema_decay": 0.9,
        "slice_share": 1.0,
    },
    "train": {
        **LEARNING,
        "epochs": 2.0,
        "learning_rate": 0.05,
        "ema_decay": 0.9,
        "distill_weight": 0.5,
        "temperature": 2.0,
        "slice_share": 1.0,
        "slice": {"images": 100},
    },
}


@dataclass(frozen=True)
class World:
    """Paths of the fixtures, and how a stage is run."""

    root: Path
    space: SearchSpace

    def params(self, name: str = "params", **changes: dict[str, Any]) -> Path:
        """A params file that differs from the usual one by `changes`, section by section."""
        content = {section: {**PARAMS[section], **changes.get(section, {})} for section in PARAMS}
        file = self.root / f"{name}.yaml"
        YAML().dump(content, file)
        return file

    def arguments(self, stage: str, out: Path, **changes: Path) -> list[str]:
        paths = {
            "params": self.root / "params.yaml",
            "space": self.root / "space.yaml",
            "data": self.root / "data",
            "out": out,
        }
        if stage != "supernet":
            paths["supernet"] = self.root / "supernet"
        if stage in {"teacher", "supernet"}:
            paths["file"] = self.root / "params.yaml"
        if stage == "train":
            paths |= {"teacher": self.root / "teacher", "choice": self.root / "choice.json"}
            paths["race"] = self.root / "networks"
        return [f"--{name}={path}" for name, path in (paths | changes).items()]

    def run(self, stage: str, out: Path, **changes: Path) -> Path:
        """Run a stage in this process."""
        function = getattr(importlib.import_module(f"stages.{stage}"), stage)
        run_stage(function, self.arguments(stage, out, **changes))
        return out

    def trainings(self, params: Path, **changes: Path) -> Trainings:
        """What the race's trainings share."""
        folders = {name: self.root / name for name in ("data", "supernet", "teacher")}
        opened = Folders(**{**folders, "space": self.root / "space.yaml", **changes})
        return Trainings.open(
            opened, read_section(params, "train", TrainParams), OnnxRuntimeSession
        )

    def finish(self, params: Path, architecture: Architecture, out: Path) -> Finished:
        """Train a network to its end as the race does, into a folder of trained networks."""
        trainings = self.trainings(params)
        finished = advance(trainings, Job(architecture, 0, trainings.steps))
        write_network(out, architecture, finished.weights, finished.history)
        return finished


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Digits, a space and params; nothing trained yet."""
    root = tmp_path_factory.mktemp("training")
    (root / "space.yaml").write_text(SPACE)
    write_digits(root / "data", zoom=1, std=0.37, shift=0)
    world = World(root, SearchSpace.load(root / "space.yaml", (1, 8, 8), 10))
    world.params()
    return world


@pytest.fixture(scope="session")
def shifted(world: World) -> Path:
    """The digits with an augmentation: two views of an image differ."""
    folder = world.root / "shifted"
    write_digits(folder, zoom=1, std=0.37, shift=1)
    return folder


@pytest.fixture(scope="session")
def supernet(world: World) -> Path:
    """A trained supernet."""
    return world.run("supernet", world.root / "supernet")


@pytest.fixture(scope="session")
def teacher(world: World, supernet: Path) -> Path:
    """A trained teacher."""
    return world.run("teacher", world.root / "teacher")


@pytest.fixture(scope="session")
def chosen(world: World) -> Path:
    """A choice of one architecture."""
    file = world.root / "choice.json"
    Choice.of(architecture_at(world.space, 3), "the best of 1 candidate", None).write(file)
    return file


@pytest.fixture(scope="session")
def raced(world: World, supernet: Path, teacher: Path, chosen: Path) -> Path:
    """The chosen network, trained to the end by the race."""
    out = world.root / "networks"
    world.finish(world.root / "params.yaml", Choice.read(chosen).architecture, out)
    return out
