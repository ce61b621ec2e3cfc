"""A finished release as the setting of a benchmark: data, space, supernet, budgets, settings."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TypeVar, cast

from torch import nn

from core.checkpoint import Checkpoint
from core.files import fingerprint
from core.settings import Params, read_section
from data.stream import eval_batches
from devices.device import Device
from devices.latency.budgets import limits, search_budgets
from devices.latency.device_profile import DeviceProfile
from devices.latency.device_space import device_space
from devices.latency.table import LatencyTable
from devices.runtimes.onnxruntime.session import OnnxRuntimeSession
from models.nets.supernet import Supernet
from models.nets.weights import load_into, to_bytes
from models.search.algorithms import ALGORITHMS
from models.search.evaluation import Evaluate, recalibrated_evaluation
from models.search.problem import Problem, bn_indicators, problem_of
from models.search.rank.result import Ranking
from models.search.rank.settings import RankParams
from models.search.settings import SearchParams
from models.space.architecture import Architecture
from models.space.limits import Limit
from models.space.space import SearchSpace
from models.training.learning import EVAL_BATCH, Images
from models.training.network import train_network
from models.training.objective import Objective
from models.training.settings import TrainParams
from models.training.teachers.result import StoredTeacher

P = TypeVar("P", bound=Params)


@cache
def _read(file: Path, section: str, kind: type[Params]) -> Params:
    return read_section(file, section, kind)


def settings(file: Path, section: str, kind: type[P], **changes: object) -> P:
    """A section of the params, with changes; all settings of benchmarks are built here."""
    return cast(P, _read(file, section, kind)).model_copy(update=changes)


def search_settings(file: Path, algorithm: str, seed: int, **changes: object) -> SearchParams:
    """The section `search` for an algorithm and a seed, with changes of shared and own settings."""
    params, kind = settings(file, "search", SearchParams), ALGORITHMS[algorithm].settings_type
    own = params.algorithm if isinstance(params.algorithm, kind) else kind.model_validate({})
    changed = {key: changes.pop(key) for key in [*changes] if key in kind.model_fields}
    changes |= {"algorithm": own.model_copy(update=changed), "seed": seed}
    return params.model_copy(update=changes)


@dataclass(frozen=True)
class Release:
    """Artifacts of a finished release; benchmarks must not change the supernet."""

    images: Images
    space: SearchSpace
    supernet: Supernet
    artifacts: Path
    params: Path
    device: str

    @classmethod
    def open(cls, args: argparse.Namespace) -> Release:
        """Read a finished release's artifacts, from the flags of `add_release`."""
        images = Images.read(args.artifacts / "data")
        space = SearchSpace.load(args.space, images.info.image_shape, len(images.info.classes))
        supernet = Supernet(space)
        load_into(supernet, args.artifacts / "supernet" / "supernet.safetensors")
        return cls(images, space, supernet, args.artifacts, args.params, args.device)

    def inputs(self, *files: str) -> list[object]:
        """For the fingerprint of runs: params, data, supernet, profile, and further artifacts."""
        profile = f"profile/{self.device}/latency.json"
        read = ("data/dataset.json", "supernet/supernet.safetensors", profile, *files)
        paths = [self.artifacts / name for name in read]
        return [self.device, self.space.name, self.params, *paths]

    def settings(self, section: str, kind: type[P], **changes: object) -> P:
        """A section of the release's params, with changes."""
        return settings(self.params, section, kind, **changes)

    def chosen(self) -> Architecture:
        """The architecture that `rank` chose for the device."""
        return Ranking.read(self.artifacts / "rank" / self.device).chosen.architecture

    @cached_property
    def problem(self) -> Problem:
        """The search problem: the space within the device's budgets."""
        params = self.settings("search", SearchParams)
        device, latency = self._device()
        budgets = search_budgets(self.space, self.device, device, latency, params.latency_margin)
        batch = min(params.batch, len(self.images.val))
        indicators = bn_indicators(self.supernet, self.space)
        return problem_of(self.space, budgets.limits, batch, indicators)

    def latency_space(self) -> tuple[SearchSpace, Limit]:
        """The device's own space and its latency budget."""
        device, latency = self._device()
        found = [limit for limit in limits(device, latency) if limit.key == "latency_ms"]
        if not found:
            raise ValueError(
                f"'{self.device}' has no measured latency with a budget: take another --device."
            )
        return device_space(self.space, self.device, device).space, found[0]

    def _device(self) -> tuple[Device, LatencyTable]:
        device = read_section(self.params, "devices", dict[str, Device])[self.device]
        return device, DeviceProfile.read(self.artifacts / "profile" / self.device).table

    def validation_judge(self) -> Evaluate:
        """Evaluates recalibrated slices on all validation images, as `rank` recalibrates."""
        params, images = self.settings("rank", RankParams), self.images
        calibration = images.calibration(params.recalibration_batches, params.batch, params.seed)
        held_out = list(eval_batches(images.val, images.info, EVAL_BATCH))
        return recalibrated_evaluation(self.supernet, calibration, held_out)

    def train(
        self, network: nn.Module, params: TrainParams, teacher: Path | None, work: Path
    ) -> dict[str, float]:
        """Train a network in place from the weights it has, as the stage `train`; resumable."""
        images = self.images
        objective = Objective(len(images.info.classes), params.label_smoothing)
        if teacher is not None:
            objective = StoredTeacher.read(teacher).objective(params, images, OnnxRuntimeSession)
        recipe = params.model_dump(exclude={"checkpoint_every"})
        inputs = fingerprint(recipe, str(teacher), to_bytes(network).hex())
        checkpoint = Checkpoint(work / inputs[:16], inputs)
        began = time.perf_counter()
        train_network(network, images, objective, params, checkpoint)
        seconds = time.perf_counter() - began
        checkpoint.clear()
        return accuracies(network, images) | {"seconds": seconds}


def accuracies(network: nn.Module, images: Images) -> dict[str, float]:
    """Accuracy on test images, and on validation and test images together (`unseen`)."""
    val, test = (images.accuracy(network, split) for split in ("val", "test"))
    vals, tests = len(images.val), len(images.test)
    return {"accuracy": test, "unseen": (val * vals + test * tests) / (vals + tests)}
