"""What all networks of the baselines' benchmark share: data, recipe, latency protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.harness.presets import any_device
from benchmarks.harness.release import Release
from benchmarks.harness.runs import Runs
from core.files import write_bytes
from devices.measure.interleaved import MeasurementError, Protocol
from devices.measure.target import LocalTarget
from models.nets.onnx_export import to_onnx
from models.nets.subnet import Subnet
from models.space.architecture import Architecture
from models.training.settings import TrainParams

RUNTIME = "onnxruntime"


@dataclass(frozen=True)
class Entrant:
    """A network that competes; `identity` is what its title leaves open: width or architecture."""

    title: str
    identity: str
    build: Callable[[int], nn.Module]

    @property
    def parameters(self) -> str:
        """The number of parameters."""
        return f"{sum(p.numel() for p in self.build(0).parameters()):,}"


def of_space(title: str, architecture: Architecture) -> Entrant:
    """A network of the search space."""
    build = lambda seed: Subnet(architecture, torch.Generator().manual_seed(seed))  # noqa: E731
    return Entrant(title, architecture.id, build)


@dataclass(frozen=True)
class World:
    """What all networks share; the release's searched network is the unit of latency."""

    release: Release
    params: TrainParams
    protocol: Protocol
    runs: Runs

    def ratio(self, entrant: Entrant, repetition: int = 0) -> float:
        """Latency over the searched network's, measured side by side; kept per repetition."""
        blocks = self.protocol.blocks
        name = f"latency {entrant.title} {entrant.identity} {blocks} {repetition}"
        return float(self.runs.get(name, lambda: {"ratio": self._measure(entrant)})["ratio"])

    def _measure(self, entrant: Entrant) -> float:
        shape, folder = self.release.images.info.image_shape, self.runs.folder
        reference, model = folder / "searched.onnx", folder / "entrant.onnx"
        write_bytes(reference, to_onnx(of_space("", self.release.chosen()).build(0), shape))
        write_bytes(model, to_onnx(entrant.build(0), shape))
        target = LocalTarget(RUNTIME, any_device(RUNTIME))
        (found,) = target.measure({entrant.title: model}, reference, self.protocol).values()
        if found.half_width > self.protocol.max_interval:
            raise MeasurementError(
                f"latency of '{entrant.title}' is too noisy: its 95% interval is "
                f"+-{found.half_width:.1%}, and {self.protocol.max_interval:.1%} is allowed. Stop "
                "other work on this machine."
            )
        return found.ratio

    def accuracy(self, entrant: Entrant, seed: int) -> float:
        """Test accuracy after training from scratch with a seed; kept."""
        params = self.params.model_copy(update={"seed": seed})
        name = f"accuracy {entrant.title} {entrant.identity} {seed}"
        train = lambda: self.release.train(entrant.build(seed), params, None, self.runs.folder)  # noqa: E731
        return float(self.runs.get(name, train)["accuracy"])
