"""Jobs of the executors' tests: functions of a module, as workers receive them by name."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from core.errors import UserError
from core.executors import report


@dataclass(frozen=True)
class World:
    """Images (N, 1, 8, 8) and labels (N,)."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def open_world(folder: Path) -> World:
    """Open the arrays, and leave a file with the process's number for each time."""
    (folder / f"opened-{os.getpid()}-{time.monotonic_ns()}").touch()
    return World(np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "labels.npy"))


def write_world(folder: Path) -> None:
    """Write random arrays for `open_world`."""
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (256, 1, 8, 8), dtype=np.uint8))
    np.save(folder / "labels.npy", rng.integers(0, 4, 256))


def train(world: World, seed: int) -> bytes:
    """Train a small network for 12 steps and return its weights; the global generators matter."""
    torch.manual_seed(torch.initial_seed() + seed)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Dropout(0.2),
        torch.nn.Linear(32 * 64, 4),
    )
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    for _ in range(12):
        rows = np.random.randint(0, len(world.labels), 64)  # noqa: NPY002 - the global generator
        images_NCHW = torch.from_numpy(world.images[rows]).float() / 255
        loss = torch.nn.functional.cross_entropy(
            network(images_NCHW), torch.from_numpy(world.labels[rows])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return b"".join(p.detach().numpy().tobytes() for p in network.parameters())


@dataclass(frozen=True)
class Deadly:
    """A job that ends its process by a signal in its first `deaths` attempts."""

    folder: Path
    seed: int
    deaths: int = 0
    number: int = signal.SIGKILL


def die_then_train(world: World, job: Deadly) -> bytes:
    """Count an attempt; die in the middle of it, or finish it."""
    attempts = job.folder / f"attempts-{job.seed}"
    with attempts.open("a") as file:
        file.write(f"{os.getpid()}\n")
    weights = train(world, job.seed)
    if len(attempts.read_text().splitlines()) <= job.deaths:
        os.kill(os.getpid(), job.number)
        time.sleep(60)
    return weights


class PickyError(UserError):
    """An error of the user whose class cannot be built from its text."""

    def __init__(self, key: str, value: int) -> None:
        super().__init__(f"{key}: {value} is too large.")


def fail(world: None, job: str) -> str:
    """Fail in the way that the job names."""
    if job == "user":
        raise UserError("batch: 7 does not divide 12.")
    if job == "picky":
        raise PickyError("batch", 7)
    if job == "system":
        raise FileNotFoundError(2, "No such file or directory", "teacher.onnx")
    if job == "bug":
        return str(1 // 0)
    if job == "exit":
        sys.exit(3)
    if job == "unpicklable":
        return lambda: None  # type: ignore[return-value]
    return job


def nothing() -> None:
    """No world."""


def broken_world() -> None:
    """A world that cannot be opened."""
    raise UserError("images.npy: not an array.")


def count(world: None, steps: int) -> int:
    """Report every step, faster than reports are sent."""
    began = time.monotonic()
    for step in range(steps):
        report(step)
        time.sleep(0.005)
    assert time.monotonic() > began
    return steps


def chatter(world: None, job: int) -> int:
    """Print lines in pieces, and several lines at once."""
    for _ in range(200):
        for _ in range(20):
            print(str(job), end="")
        print(f"\n{str(job) * 30}\n{str(job) * 10}", end="")
        print()
    print("no newline", end="")
    return job


def sleep(world: None, folder: Path) -> None:
    """Leave a file with the process's number, and sleep."""
    (folder / f"running-{os.getpid()}").touch()
    time.sleep(300)


def variables(world: None, names: list[str]) -> dict[str, str | None]:
    """Environment variables and the number of torch's threads in a worker."""
    found = {name: os.environ.get(name) for name in names}
    return found | {"torch": str(torch.get_num_threads())}


def mixed(world: None, job: tuple[str, object]) -> object:
    """Run the function of this module that the job names; `fail` waits for the others."""
    name, argument = job
    if name == "fail":
        time.sleep(6)
    return globals()[name](world, argument)
