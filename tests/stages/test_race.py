"""The stage race, with real trainings of small networks by worker processes."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from ruamel.yaml import YAML

from core.files import read_json, write_json
from core.stage import run_stage
from devices.latency.table import LatencyTable
from devices.measure.reference import LATENCY
from models.search.choice import Choice
from models.search.race.ledger import Ledger
from models.search.race.result import RaceRecord
from models.space.architecture import Architecture
from models.space.costs import flops
from stages.fleet import fleet as fleet_stage
from stages.race import race as race_stage
from tests.spaces import all_architectures
from tests.support import merged
from tests.worlds import candidates_of, kill_after, ranking_of

pytestmark = pytest.mark.slow

TRAIN = {
    "epochs": 0.01, "min_steps": 16, "batch": 32, "learning_rate": 0.05, "ema_decay": 0.9,
    "checkpoint_every": 1, "recalibration_batches": 2,
}  # fmt: skip
RACE = {"rungs": [0.25, 0.5, 1.0],
    "candidates": 4, "controls": 2, "finalists": 2, "repeats": 1, "band": 0.5, "bootstrap": 20,
    "executor": {"name": "local", "workers": 1},
}  # fmt: skip
RUNGS = (4, 8, 16)


@dataclass(frozen=True)
class Fleet:
    """Two devices after their rankings."""

    root: Path
    world: Any
    budgets: dict[str, int]

    def params(self, name: str = "params", **changes: Any) -> Path:
        """A params file, with nested changes."""
        devices = {
            name: {"backend": "tensorrt", "budget": {"flops": budget}, "min_accuracy": 0.1}
            for name, budget in self.budgets.items()
        }
        usual = {"train": TRAIN, "race": RACE, "devices": devices,
                 "fleet": {"share": False, "joint": 2}}  # fmt: skip
        file = self.root / f"{name}.yaml"
        YAML().dump(merged(usual, changes), file)
        return file

    def flags(self, stage: str, out: Path, **changes: Path) -> list[str]:
        """The flags of `race` or `fleet`."""
        paths = {name: self.root / name for name in ("profile", "search", "rank")}
        paths |= {"data": self.world.root / "data", "space": self.world.root / "space.yaml"}
        if stage == "race":
            paths |= {name: self.world.root / name for name in ("supernet", "teacher")}
            paths["ledger"] = self.root / "empty"
        paths |= {"params": self.root / "params.yaml", "out": out}
        paths |= {"choices": out.with_name(f"{out.name}-choices")}
        return [f"--{name}={path}" for name, path in (paths | changes).items()]

    def race(self, out: Path, **changes: Path) -> Path:
        """Run the stage race in this process."""
        run_stage(race_stage, self.flags("race", out, **changes))
        return out


@pytest.fixture(scope="module")
def fleet(
    world: Any, supernet: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory
) -> Fleet:
    root = tmp_path_factory.mktemp("race")
    networks = sorted(all_architectures(world.space), key=lambda one: (flops(one), one.id))
    budgets = {"large": int(flops(networks[-1])), "small": int(flops(networks[len(networks) // 2]))}
    nothing = LatencyTable.unmeasured("any", "tensorrt").to_json()
    for name, budget in budgets.items():
        candidates = candidates_of([one for one in networks if flops(one) <= budget][-3:])
        candidates.write(root / "search" / name)
        ranking_of(candidates).write(root / "rank" / name)
        write_json(root / "profile" / name / "latency.json", LATENCY, nothing)
    (root / "empty").mkdir()
    found = Fleet(root, world, budgets)
    found.params()
    return found


@pytest.fixture(scope="module")
def raced(fleet: Fleet) -> Path:
    """A whole race by one worker."""
    return fleet.race(fleet.root / "whole" / "race")


def check_equal(out: Path, expected: Path) -> None:
    """Every output of the race, and the choices, have the same bytes."""
    for suffix in ("", "-choices"):
        here, there = (path.with_name(path.name + suffix) for path in (out, expected))
        files = {file.relative_to(there) for file in there.rglob("*") if file.is_file()}
        assert {file.relative_to(here) for file in here.rglob("*") if file.is_file()} == files
        for file in files:
            assert (here / file).read_bytes() == (there / file).read_bytes(), file


def rungs(out: Path, steps: int) -> dict[Path, int]:
    """The finished rungs in the store after some steps, with the time of each."""
    states = out.with_name(f".{out.name}.states")
    return {file: file.stat().st_mtime_ns for file in states.glob(f"*/*/{steps}.json")}


def test_every_device_gets_a_network_within_its_budget(fleet: Fleet, raced: Path) -> None:
    record = RaceRecord.read(raced)
    assert record.rungs == RUNGS
    assert record.seed_noise is not None
    for name, budget in fleet.budgets.items():
        device = record.devices[name]
        choice = Choice.read(raced.with_name("race-choices") / f"{name}.json")
        assert choice.architecture_id == device.winner == device.networks[0].architecture_id
        assert flops(choice.architecture) <= budget
        assert all(row.costs["flops"] <= budget for row in device.networks)
        assert len(device.networks) >= RACE["candidates"]
        finalists = [
            row.rungs[-1].nll for row in device.networks if row.rungs[-1].steps == RUNGS[-1]
        ]
        assert len(finalists) >= 2
        assert device.tie or device.networks[0].rungs[-1].nll == min(finalists)
        assert device.lead is not None
        assert device.lead.controls >= 2
    assert len(rungs(raced, 4)) == len(Ledger.read(raced).entries)


def test_the_race_delivers_what_the_stage_train_takes(
    fleet: Fleet, raced: Path, tmp_path: Path
) -> None:
    choice = raced.with_name("race-choices") / "small.json"
    out = fleet.world.run(
        "train", tmp_path / "train", choice=choice, race=raced / "networks", params=fleet.params()
    )
    winner = Choice.read(choice).architecture
    trained = raced / "networks" / f"{winner.id}.safetensors"
    assert (out / "model.safetensors").read_bytes() == trained.read_bytes()
    accuracy = json.loads((out / "train.json").read_text())["accuracy"]["val"]
    (entry,) = [
        one for one in Ledger.read(raced).entries
        if one.architecture == winner and one.repeat == 0
    ]  # fmt: skip
    assert accuracy == pytest.approx(entry.standings[-1].accuracy, abs=1e-6)


def test_a_race_killed_in_the_second_rung_resumes_to_the_same_bytes(
    fleet: Fleet, raced: Path, tmp_path: Path
) -> None:
    out = tmp_path / "race"
    states = tmp_path / ".race.states"

    def second_rung() -> bool:
        return any(states.glob("*/*/8.json")) and not any(states.glob("*/*/16.json"))

    assert kill_after("race", fleet.flags("race", out), second_rung) == -9
    assert not out.exists()
    before = rungs(out, 4) | rungs(out, 8)
    assert len(rungs(out, 4)) == len(rungs(raced, 4))
    assert 1 <= len(rungs(out, 8)) < len(rungs(raced, 8))
    fleet.race(out)
    check_equal(out, raced)
    after = rungs(out, 4) | rungs(out, 8)
    assert {file: after[file] for file in before} == before, "they were trained again"


def kill_a_worker(process: "subprocess.Popen[bytes]", ready: Callable[[], bool]) -> None:
    """SIGKILL one of a stage's workers once `ready` holds."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None
        if ready():
            for child in psutil.Process(process.pid).children():
                if "spawn_main" in " ".join(child.cmdline()):
                    child.kill()
                    return
        time.sleep(0.002)
    raise AssertionError("no worker was running")


def test_two_workers_of_which_one_is_killed_give_the_same_bytes(
    fleet: Fleet, raced: Path, tmp_path: Path
) -> None:
    out, states = tmp_path / "race", tmp_path / ".race.states"
    params = fleet.params("two", race={"executor": {"workers": 2}})
    command = [sys.executable, "-m", "stages", "race", *fleet.flags("race", out, params=params)]
    process = subprocess.Popen(command)
    kill_a_worker(process, lambda: any(states.glob("*/*/checkpoint.pt")))
    assert process.wait() == 0
    check_equal(out, raced)


def test_a_ledger_of_the_same_data_and_recipe_answers_without_training(
    fleet: Fleet, raced: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    earlier = Ledger.read(raced)
    out = fleet.race(tmp_path / "race", ledger=raced / "ledger.json")
    assert f"{len(earlier.entries)} trainings are reused" in capfd.readouterr().out
    ledger = Ledger.read(out)
    assert ledger.winners == earlier.winners
    assert [one.standings for one in ledger.entries] == [one.standings for one in earlier.entries]
    assert all(one.reused for one in ledger.entries)
    # Only the winners are trained again, because their weights are not here.
    winners = set(earlier.winners.values())
    states = next((tmp_path / ".race.states").iterdir())
    assert {folder.name for folder in states.iterdir()} == {f"{name}-0" for name in winners}
    for name in winners:
        for suffix in ("json", "safetensors"):
            file = Path("networks") / f"{name}.{suffix}"
            assert (out / file).read_bytes() == (raced / file).read_bytes()
    assert (out / "certificates" / "large.json").read_bytes() == (
        raced / "certificates" / "large.json"
    ).read_bytes()


def test_a_ledger_of_another_recipe_is_no_answer_but_its_winners_take_part(
    fleet: Fleet, raced: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "race"
    shutil.copytree(raced.with_name(".race.states"), tmp_path / ".race.states")
    (before,) = (tmp_path / ".race.states").iterdir()
    count = len(Ledger.read(raced).entries)
    params = fleet.params("other", train={"learning_rate": 0.03})
    fleet.race(out, params=params, ledger=raced / "ledger.json")
    said = capfd.readouterr().out
    assert f"{count} with another recipe are no answers, and only inform proposals" in said
    record, earlier = RaceRecord.read(out), Ledger.read(raced)
    for name, device in record.devices.items():
        origins = {row.architecture_id: row.origins for row in device.networks}
        assert "earlier winner" in origins[earlier.winners[name]]
    ledger = Ledger.read(out)
    assert len(ledger.entries) > count
    assert not any(one.reused for one in ledger.of(ledger.recipe).values())
    # The states of the other recipe were neither used nor kept.
    (after,) = (tmp_path / ".race.states").iterdir()
    assert after.name != before.name


def test_shared_networks_are_within_the_budgets_of_their_devices(
    fleet: Fleet, tmp_path: Path
) -> None:
    params = fleet.params("share", fleet={"share": True, "most_lost": 0.9})
    race, out = fleet.race(tmp_path / "race", params=params), tmp_path / "fleet"
    joint = [
        row for device in RaceRecord.read(race).devices.values() for row in device.networks
        if "joint" in row.origins
    ]  # fmt: skip
    assert joint
    run_stage(fleet_stage, fleet.flags("fleet", out, params=params, race=race))
    shared = read_json(out / "fleet.json", "netwright/fleet/2")["shared"]
    assert len(shared) == 1  # any loss is allowed, so one network serves both
    for name, budget in fleet.budgets.items():
        choice = tmp_path / "fleet-choices" / f"{name}.json"
        delivered = fleet.world.run(
            "train", tmp_path / name, choice=choice, race=race / "networks", params=params
        )
        content = json.loads((delivered / "architecture.json").read_text())
        assert flops(Architecture.from_json(content)) <= budget
