"""The stage fleet, on real networks with synthetic searches and rankings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from core.errors import UserError
from core.files import read_json, write_json
from core.settings import derive_seed
from core.stage import run_stage
from data.stream import eval_batches
from devices.fleet.record import FleetRecord
from models.nets.evaluate import slice_accuracy
from models.nets.supernet import Supernet
from models.nets.weights import load_into
from models.search.choice import Choice
from models.space.architecture import Architecture
from models.space.costs import flops
from models.space.distribution import SCHEMA as DISTRIBUTION
from models.space.distribution import Distribution
from models.training.learning import Images, spread
from stages.fleet import fleet as stage
from tests.spaces import sample_choices
from tests.worlds import candidates_of, ranking_of

BUDGETS = {"large": 10**9, "middle": 120_000, "small": 80_000}
"""Multiply-accumulates."""
SECTION = {
    "share": False, "most_lost": 0.02, "per_device": 3, "joint": 4, "images": 150,
    "recalibration_batches": 1, "batch": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def fleet(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of the searches and rankings of three devices."""
    root = tmp_path_factory.mktemp("fleet")
    rng, nothing = np.random.default_rng(0), (world.root / "unmeasured" / "latency.json")
    drawn = [world.space.architecture(row) for row in sample_choices(world.space, 60, rng)]
    for name, budget in BUDGETS.items():
        networks = [network for network in drawn if flops(network) <= budget][:4]
        assert len(networks) == 4, name
        candidates = candidates_of(networks)
        candidates.write(root / "search" / name)
        ranking_of(candidates).write(root / "rank" / name)
        (root / "profile" / name).mkdir(parents=True)
        (root / "profile" / name / "latency.json").write_bytes(nothing.read_bytes())
    learnt = Distribution(world.space.groups, "factorised").to_json()
    write_json(root / "search" / "large" / "distribution.json", DISTRIBUTION, learnt)
    devices = {
        name: {"backend": "tensorrt", "budget": {"flops": budget}, "min_accuracy": 0.5}
        for name, budget in BUDGETS.items()
    }
    YAML().dump({"fleet": SECTION, "devices": devices}, root / "params.yaml")
    return root


def flags(world: Any, fleet: Path, out: Path) -> list[str]:
    folders = {name: fleet / name for name in ("profile", "search", "rank")}
    choices = out.with_name(f"{out.name}-choices")
    return world.flags("fleet", out, choices=choices, params=fleet / "params.yaml", **folders)


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
        best = max(row["supernet_accuracy"] for row in within)
        given = networks[device["shared"]]
        assert given["within"][name]
        assert best - given["supernet_accuracy"] == pytest.approx(device["lost"], abs=1e-5)
        assert device["lost"] <= content["most_lost"]
        assert name in content["shared"][device["shared"]]
        choice = Choice.read(made.with_name("fleet-choices") / f"{name}.json")
        assert choice.architecture.id == device["shared"]
        assert choice.supernet_accuracy == given["supernet_accuracy"]
        assert f"this one loses {device['lost']:.4f}" in choice.reason
    assert content["least_losses"][-1]["most_lost"] == 0
    prices = {row["networks"]: row["most_lost"] for row in content["least_losses"]}
    assert prices[len(content["shared"])] <= content["most_lost"]
    assert all(
        lost > content["most_lost"]
        for count, lost in prices.items()
        if count < len(content["shared"])
    )


def test_a_front_has_what_no_other_beats(made: Path) -> None:
    content = read_json(made / "fleet.json", FleetRecord.SCHEMA)
    points = {
        row["architecture_id"]: (row["costs"]["small"]["flops"], row["supernet_accuracy"])
        for row in content["networks"]
    }
    front = content["devices"]["small"]["front"]
    for identity, (cost, accuracy) in points.items():
        beaten = any(
            (c <= cost and a >= accuracy and (c, a) != (cost, accuracy)) for c, a in points.values()
        )
        assert not (beaten and identity in front)
        assert beaten or any(points[other] == points[identity] for other in front)


def test_networks_are_drawn_besides_that_several_devices_allow(world: Any, made: Path) -> None:
    networks = read_json(made / "fleet.json", FleetRecord.SCHEMA)["networks"]
    assert len({row["architecture_id"] for row in networks}) == len(networks)
    drawn = [row for row in networks if not row["ranked_by"]]
    assert len(drawn) == SECTION["joint"]
    assert all(sum(row["within"].values()) >= 2 for row in drawn)
    images, supernet = Images.read(world.root / "data"), Supernet(world.space)
    load_into(supernet, world.root / "supernet" / "supernet.safetensors")
    found = slice_accuracy(
        supernet,
        Architecture.from_json(drawn[0]["architecture"]),
        images.calibration(1, 64, derive_seed(0, "fleet")),
        list(eval_batches(spread(images.val, 150), images.info, 64)),
    )
    assert found == pytest.approx(drawn[0]["supernet_accuracy"], abs=1e-6)


@pytest.mark.slow
def test_a_fleet_killed_with_9_continues_to_the_same_bytes(
    world: Any, fleet: Path, made: Path, tmp_path: Path
) -> None:
    out = tmp_path / "fleet"
    state = tmp_path / ".fleet.partial" / "state.pt"
    assert world.kill_after("fleet", flags(world, fleet, out), state.is_file) == -9
    assert torch.load(state, weights_only=True)["state"]
    run_stage(stage, flags(world, fleet, out))
    for name in ("fleet.json", "fleet.png"):
        assert (out / name).read_bytes() == (made / name).read_bytes(), name


def test_a_device_that_allows_none_of_the_networks_stops_the_stage(
    world: Any, fleet: Path, tmp_path: Path
) -> None:
    content = YAML(typ="safe").load(fleet / "params.yaml")
    content["devices"]["small"]["budget"]["flops"] = 10
    params = tmp_path / "params.yaml"
    YAML().dump(content, params)
    words = flags(world, fleet, tmp_path / "fleet")
    words = [word for word in words if not word.startswith("--params")] + [f"--params={params}"]
    with pytest.raises(UserError, match=r"'small'.*stages search and rank"):
        run_stage(stage, words)
    assert not (tmp_path / "fleet").exists()
