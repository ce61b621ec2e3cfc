"""What all networks of `benchmarks.baselines` share: data, recipe, protocol, and what is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from benchmarks.arms import Ledger
from core.checkpoint import Checkpoint
from core.files import fingerprint, write_bytes
from devices.measure.interleaved import Protocol, measure, require_narrow
from models.nets.onnx_export import to_onnx
from models.nets.subnet import Subnet
from models.space.architecture import Architecture
from models.training.learning import Images
from models.training.loop import Objective
from models.training.network import train_network
from models.training.settings import TrainParams

RUNTIME = "onnxruntime"


@dataclass(frozen=True)
class World:
    """What all networks share.

    Attributes:
        images: the prepared data set.
        architecture: the searched one, whose latency is the unit.
        params: the recipe.
        protocol: how latencies are measured.
        work: folder of what is half done.
        ledger: of what is done, by everything it depends on.
    """

    images: Images
    architecture: Architecture
    params: TrainParams
    protocol: Protocol
    work: Path
    ledger: Ledger


@dataclass(frozen=True)
class Entrant:
    """A network that competes.

    Attributes:
        title: for the tables.
        identity: what the title leaves open: a width, or an architecture's id.
        build: the network with the initial weights of a seed.
    """

    title: str
    identity: str
    build: Callable[[int], nn.Module]


def of_space(title: str, architecture: Architecture) -> Entrant:
    """A network of the search space."""

    def build(seed: int) -> nn.Module:
        return Subnet(architecture, torch.Generator().manual_seed(seed))

    return Entrant(title, architecture.id, build)


def ratio(world: World, entrant: Entrant, repetition: int = 0) -> float:
    """How many times the searched network's latency another takes, measured side by side.

    Args:
        world: the searched network and the protocol.
        entrant: the other one.
        repetition: tells measurements of the same network apart.
    """
    protocol = asdict(world.protocol)
    names = (entrant.title, entrant.identity, world.architecture.id)
    key = fingerprint("ratio", *names, protocol, repetition)
    found = world.ledger.get(key, lambda: {"ratio": _measured(world, entrant)})["ratio"]
    print(f"{entrant.title}, {entrant.identity}: {found:.3f} of the latency", flush=True)
    return found


def _measured(world: World, entrant: Entrant) -> float:
    shape = world.images.info.image_shape
    reference, model = world.work / "searched.onnx", world.work / "baseline.onnx"
    searched = of_space("", world.architecture).build(0)
    write_bytes(reference, to_onnx(searched, shape))
    write_bytes(model, to_onnx(entrant.build(0), shape))
    found = measure(RUNTIME, {"baseline": model}, reference, 1, world.protocol)
    require_narrow(found, world.protocol)
    return found["baseline"].ratio


def accuracy(world: World, entrant: Entrant, seed: int) -> float:
    """Test accuracy after the training from scratch with a seed."""
    names = (entrant.title, entrant.identity)
    key = fingerprint("accuracy", *names, world.params.model_dump(), seed)
    row = world.ledger.get(key, partial(_trained, world, entrant, seed))
    print(f"{entrant.title}, {entrant.identity}, seed {seed}: {row}", flush=True)
    return row["accuracy"]


def _trained(world: World, entrant: Entrant, seed: int) -> dict[str, float]:
    """Train a network; its test accuracy, and the seconds."""
    params = world.params.model_copy(update={"seed": seed})
    names = (entrant.title, entrant.identity)
    inputs = fingerprint(*names, params.model_dump(exclude={"checkpoint_every"}))
    checkpoint = Checkpoint(world.work / fingerprint(*names, seed)[:16], inputs)
    objective = Objective(len(world.images.info.classes), params.label_smoothing)
    network = entrant.build(seed)
    began = time.perf_counter()
    train_network(network, world.images, objective, params, checkpoint)
    seconds = time.perf_counter() - began
    checkpoint.clear()
    return {"accuracy": world.images.accuracy(network, "test"), "seconds": seconds}


def accuracies(world: World, entrants: Sequence[Entrant], seeds: int) -> dict[str, list[float]]:
    """Every network's accuracy per seed, by title; all networks of a seed first."""
    found: dict[str, list[float]] = {entrant.title: [] for entrant in entrants}
    for seed in range(seeds):
        for entrant in entrants:
            found[entrant.title].append(accuracy(world, entrant, seed))
    return found


def parameters(network: nn.Module) -> str:
    """How many numbers it learns."""
    return f"{sum(p.numel() for p in network.parameters()):,}"
