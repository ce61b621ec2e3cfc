"""The stage fleet, on the ledger of a race with synthetic searches, rankings and accuracies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from core.errors import UserError
from core.files import read_json, write_bytes, write_json
from core.settings import read_section
from core.stage import run_stage
from devices.device import Device
from devices.fleet.members import Member
from devices.fleet.networks import joint_networks
from devices.fleet.record import FleetRecord
from models.search.choice import Choice
from models.search.race.ledger import Entry, Ledger, Recipe
from models.search.race.networks import FOLDER
from models.search.race.training import Standing
from models.space.architecture import Architecture
from models.space.costs import flops
from models.space.distribution import SCHEMA as DISTRIBUTION
from models.space.distribution import Distribution
from stages.fleet import fleet as stage
from tests.spaces import sample_choices
from tests.worlds import candidates_of, ranking_of

BUDGETS = {"large": 10**9, "middle": 120_000, "small": 80_000}
"""Multiply-accumulates."""
RECIPE = Recipe(data="data", training="training", steps=16)


@pytest.fixture(scope="module")
def fleet(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of the searches and rankings of three devices, and of their race."""
    root = tmp_path_factory.mktemp("fleet")
    rng, nothing = np.random.default_rng(0), (world.root / "unmeasured" / "latency.json")
    drawn = [world.space.architecture(row) for row in sample_choices(world.space, 60, rng)]
    raced: dict[str, list[Architecture]] = {}
    for name, budget in BUDGETS.items():
        raced[name] = [network for network in drawn if flops(network) <= budget][:4]
        assert len(raced[name]) == 4, name
        candidates = candidates_of(raced[name])
        candidates.write(root / "search" / name)
        ranking_of(candidates).write(root / "rank" / name)
        (root / "profile" / name).mkdir(parents=True)
        (root / "profile" / name / "latency.json").write_bytes(nothing.read_bytes())
    learnt = Distribution(world.space.groups, "factorised").to_json()
    write_json(root / "search" / "large" / "distribution.json", DISTRIBUTION, learnt)
    write_race(root / "race", raced, drawn[-1])
    devices = {
        name: {"backend": "tensorrt", "budget": {"flops": budget}, "min_accuracy": 0.5}
        for name, budget in BUDGETS.items()
    }
    YAML().dump({"fleet": {"share": False, "most_lost": 0.02}, "devices": devices},
                root / "params.yaml")  # fmt: skip
    return root


def write_race(folder: Path, raced: Mapping[str, list[Architecture]], other: Architecture) -> None:
    """A race in which all networks were trained to the end; larger ones are better.

    Beside them the ledger has one that was not, and one whose weights are not kept.
    """
    networks = {one.id: one for found in raced.values() for one in found}
    assert other.id not in networks
    accuracies = {n: 0.7 + 0.1 * flops(one) / 400_000 for n, one in networks.items()}
    entries = [entry(one, 16, accuracies[one.id]) for one in networks.values()]
    early = other.id
    entries += [entry(other, 8, 0.99)]
    winners = {
        name: max(found, key=lambda one: accuracies[one.id]).id for name, found in raced.items()
    }
    Ledger(recipe=RECIPE, entries=tuple(entries), winners=winners).write(folder)
    for name in networks:
        write_bytes(folder / FOLDER / f"{name}.safetensors", b"")
    assert not (folder / FOLDER / f"{early}.safetensors").exists()


def entry(architecture: Architecture, steps: int, accuracy: float) -> Entry:
    standing = Standing(steps=steps, nll=1 - accuracy, accuracy=accuracy, indicators={})
    return Entry(
        architecture=architecture,
        architecture_id=architecture.id,
        repeat=0,
        recipe=RECIPE,
        standings=(standing,),
        reused=False,
    )


def flags(world: Any, fleet: Path, out: Path, **changes: Path) -> list[str]:
    folders = {name: fleet / name for name in ("profile", "search", "rank", "race")}
    folders |= {"choices": out.with_name(f"{out.name}-choices"), "params": fleet / "params.yaml"}
    words = world.flags("fleet", out, **(folders | changes))
    return [word for word in words if not word.startswith("--supernet")]


@pytest.fixture(scope="module")
def made(world: Any, fleet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "fleet"
    run_stage(stage, flags(world, fleet, out))
    return out


def test_every_device_gets_a_network_within_its_budget_that_loses_as_little_as_it_says(
    made: Path,
) -> None:
    content = read_json(made / "fleet.json", FleetRecord.SCHEMA)
    networks = {row["architecture_id"]: row for row in content["networks"]}
    for name, budget in BUDGETS.items():
        device = content["devices"][name]
        within = [row for row in networks.values() if row["within"][name]]
        assert {r["architecture_id"] for r in within} == {
            identity
            for identity, row in networks.items()
            if flops(Architecture.from_json(row["architecture"])) <= budget
        }
        best = max(row["val_accuracy"] for row in within)
        given = networks[device["shared"]]
        assert given["within"][name]
        assert best - given["val_accuracy"] == pytest.approx(device["lost"], abs=2e-6)
        assert device["lost"] <= content["most_lost"]
        assert name in content["shared"][device["shared"]]
        choice = Choice.read(made.with_name("fleet-choices") / f"{name}.json")
        assert choice.architecture.id == device["shared"]
        assert choice.supernet_accuracy is None
        assert f"this one loses {device['lost']:.4f}" in choice.reason
    assert content["least_losses"][-1]["most_lost"] == 0
    prices = {row["networks"]: row["most_lost"] for row in content["least_losses"]}
    assert prices[len(content["shared"])] <= content["most_lost"]
    assert all(
        lost > content["most_lost"]
        for count, lost in prices.items()
        if count < len(content["shared"])
    )


def test_candidates_are_the_networks_that_the_race_trained_to_the_end(
    fleet: Path, made: Path
) -> None:
    content = read_json(made / "fleet.json", FleetRecord.SCHEMA)
    ledger = Ledger.read(fleet / "race")
    ended = {one.architecture_id: one for one in ledger.entries if one.standings[-1].steps == 16}
    assert len(ended) == len(ledger.entries) - 1
    assert {row["architecture_id"] for row in content["networks"]} == set(ended)
    for row in content["networks"]:
        accuracy = ended[row["architecture_id"]].standings[-1].accuracy
        assert row["val_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    own = {name: device["own"] for name, device in content["devices"].items()}
    assert own == ledger.winners


def test_a_network_without_weights_is_no_candidate(world: Any, fleet: Path, tmp_path: Path) -> None:
    """An earlier race has trained it: `train` could not deliver it."""
    ledger = Ledger.read(fleet / "race")
    ledger.write(tmp_path / "race")
    here = set(ledger.winners.values())
    for name in here:
        write_bytes(tmp_path / "race" / FOLDER / f"{name}.safetensors", b"")
    run_stage(stage, flags(world, fleet, tmp_path / "fleet", race=tmp_path / "race"))
    content = read_json(tmp_path / "fleet" / "fleet.json", FleetRecord.SCHEMA)
    assert {row["architecture_id"] for row in content["networks"]} == here


def test_a_front_has_what_no_other_beats(made: Path) -> None:
    content = read_json(made / "fleet.json", FleetRecord.SCHEMA)
    points = {
        row["architecture_id"]: (row["costs"]["small"]["flops"], row["val_accuracy"])
        for row in content["networks"]
    }
    front = content["devices"]["small"]["front"]
    for identity, (cost, accuracy) in points.items():
        beaten = any(
            (c <= cost and a >= accuracy and (c, a) != (cost, accuracy)) for c, a in points.values()
        )
        assert not (beaten and identity in front)
        assert beaten or any(points[other] == points[identity] for other in front)


def test_joint_networks_are_within_the_budgets_of_several_devices(world: Any, fleet: Path) -> None:
    devices = read_section(fleet / "params.yaml", "devices", dict[str, Device])
    members = [
        Member.open(
            name, device, world.space, *(fleet / kind / name for kind in
                                         ("profile", "search", "rank"))
        )
        for name, device in devices.items()
    ]  # fmt: skip
    drawn = joint_networks(members, 4, 0)
    assert len({network.id for network in drawn}) == 4
    assert all(sum(member.allows(network) for member in members) >= 2 for network in drawn)
    assert all(members[2].allows(network) for network in drawn[:1])  # the first are for all
    assert joint_networks(members, 4, 0) == drawn
    assert joint_networks(members, 4, 1) != drawn
    assert joint_networks(members[:1], 4, 0) == []


def test_the_same_race_gives_the_same_bytes(
    world: Any, fleet: Path, made: Path, tmp_path: Path
) -> None:
    run_stage(stage, flags(world, fleet, tmp_path / "fleet"))
    for name in ("fleet.json", "fleet.png"):
        assert (tmp_path / "fleet" / name).read_bytes() == (made / name).read_bytes(), name


def test_a_device_that_allows_none_of_the_networks_stops_the_stage(
    world: Any, fleet: Path, tmp_path: Path
) -> None:
    content = YAML(typ="safe").load(fleet / "params.yaml")
    content["devices"]["small"]["budget"]["flops"] = 10
    params = tmp_path / "params.yaml"
    YAML().dump(content, params)
    with pytest.raises(UserError, match=r"'small'.*race"):
        run_stage(stage, flags(world, fleet, tmp_path / "fleet", params=params))
    assert not (tmp_path / "fleet").exists()


def test_a_device_that_the_race_does_not_know_is_named(
    world: Any, fleet: Path, tmp_path: Path
) -> None:
    ledger = Ledger.read(fleet / "race")
    known = {name: found for name, found in ledger.winners.items() if name != "small"}
    ledger.model_copy(update={"winners": known}).write(tmp_path / "race")
    for name in {one.architecture_id for one in ledger.entries}:
        write_bytes(tmp_path / "race" / FOLDER / f"{name}.safetensors", b"")
    with pytest.raises(UserError, match=r"'small'.*Run the stage race"):
        run_stage(stage, flags(world, fleet, tmp_path / "fleet", race=tmp_path / "race"))
