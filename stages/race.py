"""Train the candidates of all devices in rungs, and select each device's network by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from core.checkpoint import inputs_fingerprint
from core.executors import create_executor
from core.files import fingerprint
from core.progress import note_line
from devices.device import Device
from devices.fleet.members import Member
from devices.fleet.networks import joint_networks
from devices.fleet.proposals import contests, guided, side
from devices.fleet.settings import FleetParams
from devices.runtimes.onnxruntime.session import OnnxRuntimeSession
from models.search.race.ledger import Recipe, read_ledger
from models.search.race.result import RaceResult
from models.search.race.runner import Listener, Runner
from models.search.race.settings import RaceParams
from models.search.race.store import Store
from models.search.race.training import Finished, Folders, Job, World, advance
from models.space.space import SearchSpace
from models.training.settings import TrainParams


def race(
    settings: RaceParams,
    train: TrainParams,
    fleet: FleetParams,
    devices: dict[str, Device],
    data: Path,
    space: Path,
    supernet: Path,
    teacher: Path,
    profile: Path,
    search: Path,
    rank: Path,
    ledger: Path,
    out: Path,
) -> RaceResult:
    """Race the networks that all devices propose.

    `profile`, `search` and `rank` contain a folder per device.

    Raises:
        UserError: a device has no network within its budgets, or a training diverged.
    """
    folders = Folders(data, space, supernet, teacher)
    world = partial(World.open, folders, train, OnnxRuntimeSession)
    opened = world()
    whole = SearchSpace.read(space, opened.images)
    members = [
        Member.open(name, device, whole, profile / name, search / name, rank / name)
        for name, device in devices.items()
    ]
    recipe = _recipe(folders, train, opened.steps)
    earlier = read_ledger(ledger)
    if earlier is not None:
        print(earlier.describe_use(recipe))
    store = Store(out.with_name(f".{out.name}.states"), fingerprint(recipe.to_json())[:16])
    joint = joint_networks(members, fleet.joint, settings.seed) if fleet.share else []
    executor = create_executor(settings.executor, train.threads, train.seed)
    propose = guided(members, settings, recipe)

    def execute(jobs: Sequence[Job], listen: Listener) -> Iterator[tuple[int, Finished]]:
        return executor.run(advance, world, jobs, listen, lambda job: job.name)

    # Jobs on other machines cannot save checkpoints here.
    runner = Runner(settings, store, execute, recipe, earlier, propose, executor.same_machine)
    found = runner.run(contests(members, settings, earlier, joint))
    sides = {member.name: side(member) for member in members}
    result = RaceResult(found, store, earlier, sides, settings.seed, settings.bootstrap)
    for name, decided in result.record().devices.items():
        print(note_line(f"{name}: {decided.statement}"))
    return result


def _recipe(folders: Folders, train: TrainParams, steps: int) -> Recipe:
    """What all trainings of this race depend on."""
    inputs = (folders.space, folders.supernet, folders.teacher)
    return Recipe(
        data=fingerprint(folders.data / "dataset.json"),
        training=inputs_fingerprint("race", train, *inputs),
        steps=steps,
    )
