import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.files import read_json, write_bytes
from core.settings import ParamsError, bind, derive_seed
from core.stage import run_stage
from data.dataset import DatasetInfo, read_split
from data.stream import TrainStream, eval_batches
from devices.device import Budget, Device
from devices.latency.budgets import search_budgets
from devices.latency.device_profile import DeviceProfile
from models.nets.evaluate import accuracy, logits, recalibrate
from models.nets.supernet import Supernet, extract
from models.nets.weights import to_bytes
from models.search.candidates import Candidates
from models.search.evaluation import recalibrated_evaluation, supernet_evaluation
from models.search.settings import SearchParams
from models.space.architecture import Architecture
from models.space.costs import block_parameters, flops, parameters
from models.space.distribution import SCHEMA as DISTRIBUTION_SCHEMA
from models.space.distribution import Distribution
from models.space.limits import InfeasibleBudgetError, total_excess
from models.space.space import SearchSpace
from models.training.learning import Images
from stages.search import search

pytestmark = pytest.mark.slow

FILES = ["candidates.json", "distribution.json", "history.csv", "search.png", "start.json"]


def run(flags: list[str]) -> None:
    run_stage(search, flags)


def test_candidates_meet_the_budget_and_say_what_they_cost(world: Any, tmp_path: Path) -> None:
    run(world.flags("search", tmp_path / "out"))
    content = read_json(tmp_path / "out" / "candidates.json", Candidates.SCHEMA)
    table = DeviceProfile.read(world.root / "profile").table
    assert (content["algorithm"], content["space"]) == ("fp_nas", "tiny")
    assert len({row["architecture_id"] for row in content["candidates"]}) == 5
    for row in content["candidates"]:
        architecture = Architecture.from_json(row["architecture"])
        assert architecture.id == row["architecture_id"]
        latency = table.predict([block.key for block in architecture.present])
        assert latency <= 0.06
        assert row["costs"] == {
            "latency_ms": round(latency, 6),
            "flops": flops(architecture),
            "parameters": parameters(architecture),
            "size_mb": round(parameters(architecture) * 4e-6, 6),
            "memory_mb": None,
        }
        assert row["log_probability"] <= 0
    losses = [row["nll"] for row in content["candidates"]]
    assert losses == sorted(losses)
    assert content["judged_architectures"] == 5 * 3


def test_the_history_has_one_row_per_evaluated_architecture(world: Any, tmp_path: Path) -> None:
    run(world.flags("search", tmp_path / "out"))
    content = Candidates.read(tmp_path / "out")
    with (tmp_path / "out" / "history.csv").open() as file:
        whole = list(csv.DictReader(file))
    rows = [row for row in whole if int(row["step"]) < 30]
    assert len(rows) == content.sampled_architectures
    assert {row["step"] for row in whole[len(rows) :]} == {"30"}  # the shortlist
    assert len(whole) - len(rows) == content.judged_architectures
    supernet = Supernet(world.space, torch.Generator().manual_seed(0)).train()
    images = Images.read(world.root / "data")
    held_out = TrainStream(images.val, images.info, 64, derive_seed(0, "search"), augment=False)
    for row in rows:
        architecture = world.space.architecture([int(word) for word in row["choices"].split()])
        assert row["architecture_id"] == architecture.id
        assert int(row["flops"]) == flops(architecture)
        batch = held_out.at(int(row["step"]))
        with torch.no_grad():
            answers_N = supernet(batch.images_NCHW, architecture, update_statistics=False).argmax(1)
        right = (answers_N == batch.labels_N).double().mean()
        assert row["accuracy"] == f"{right:.6f}"
    assert float(rows[0]["entropy"]) == pytest.approx(
        Distribution(world.space.groups, "factorised").entropy(), abs=1e-6
    )
    saved = read_json(tmp_path / "out" / "distribution.json", DISTRIBUTION_SCHEMA)
    loaded, matched = Distribution.from_json(saved, world.space.groups)
    assert (loaded.form, matched.missing) == ("joint", ())
    assert (tmp_path / "out" / "search.png").read_bytes().startswith(b"\x89PNG")


def test_a_search_killed_with_9_continues_to_the_same_bytes(world: Any, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(world.flags("search", whole))
    state = tmp_path / ".killed.partial" / "state.pt"
    assert world.kill_after("search", world.flags("search", killed), state.is_file) == -9
    assert not killed.exists()
    step = torch.load(state, weights_only=True)["state"]["algorithm"]["step"]
    assert 0 < step < 30
    run(world.flags("search", killed))
    for name in FILES:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert not state.parent.exists()


def test_an_impossible_budget_is_refused_before_the_first_step(world: Any, tmp_path: Path) -> None:
    flags = world.flags("search", tmp_path / "out", "watch")
    with pytest.raises(InfeasibleBudgetError, match=r"devices\.watch\.budget\.latency_ms"):
        run(flags)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".out.partial").exists()


def test_an_unmeasured_device_has_no_latency_and_is_told_so(
    world: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(world.flags("search", tmp_path / "out", "gpu"))
    assert "'gpu' was not measured" in capsys.readouterr().out
    for row in read_json(tmp_path / "out" / "candidates.json", Candidates.SCHEMA)["candidates"]:
        assert row["costs"]["latency_ms"] is None
        assert row["costs"]["flops"] <= 90000


@pytest.mark.parametrize(
    ("algorithm", "own"),
    [
        ("random", ["distribution.json"]),
        ("{name: evolution, fitness: bn_indicator, population: 4}", []),
        ("annealing", ["predictor.csv", "predictor.json", "predictor.png"]),
        ("hurricane", ["operators.csv", "operators.md"]),
        ("{name: exhaustive, by: bn_indicator_per_layer}", []),
    ],
)
def test_every_algorithm_leaves_candidates_history_picture_and_its_own_files(
    world: Any, tmp_path: Path, algorithm: str, own: list[str]
) -> None:
    text = (world.root / "params.yaml").read_text()
    lengths = "steps: 4, candidates: 3, batch: 64, fitness_images: 64"
    quick = f"search: {{algorithm: {algorithm}, {lengths}}}\n"
    params = tmp_path / "params.yaml"
    params.write_text(quick + text[text.index("rank:") :])
    run(world.flags("search", tmp_path / "out", params=params))
    common = ["candidates.json", "history.csv", "search.png", "start.json"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(common + own)
    content = read_json(tmp_path / "out" / "candidates.json", Candidates.SCHEMA)
    assert len(content["candidates"]) == 3
    assert all(row["costs"]["latency_ms"] <= 0.06 for row in content["candidates"])
    with (tmp_path / "out" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == content["sampled_architectures"] + content["judged_architectures"]
    rows = rows[: content["sampled_architectures"]]
    unseen = "bn_indicator" in algorithm
    assert all((row["nll"] == "") == unseen and row["value"] for row in rows)
    assert all((row["accuracy"] == "") == unseen for row in rows)
    assert all((row["entropy"] == "") == (algorithm != "random") for row in rows)


def test_recalibrated_slices_are_judged_the_same_in_every_step(world: Any) -> None:
    supernet = Supernet(world.space, torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    images = Images.read(world.root / "data")
    calibration = images.calibration(2, 64, 0)
    held_out = list(eval_batches(images.val, images.info, 100))
    evaluate = recalibrated_evaluation(supernet, calibration, held_out)
    rng = np.random.default_rng(0)
    one, other = world.space.sample(rng), world.space.sample(rng)
    first = evaluate(0, [one, other, one])
    assert first[0] == first[2] != first[1]
    assert evaluate(5, [other, one]) == [first[1], first[0]]
    subnet = extract(supernet, one)
    recalibrate(subnet, calibration)
    found = torch.from_numpy(logits(subnet.eval(), held_out))
    labels = torch.cat([batch.labels_N for batch in held_out])
    expected = float(torch.nn.functional.cross_entropy(found, labels))
    assert first[0].nll == pytest.approx(expected, rel=1e-5)
    assert first[0].accuracy == accuracy(subnet, held_out) > 0
    assert all(torch.equal(value, before[n]) for n, value in supernet.state_dict().items())


def test_judging_an_architecture_leaves_the_supernet_as_it_was(world: Any) -> None:
    supernet = Supernet(world.space, torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    info = DatasetInfo.read(world.root / "data")
    split = read_split(world.root / "data", "val")
    evaluate = supernet_evaluation(supernet, TrainStream(split, info, 64, 0, augment=False))
    rng = np.random.default_rng(0)
    one, other = world.space.sample(rng), world.space.sample(rng)
    first = evaluate(3, [one, other, one])
    assert first[0] == first[2] != first[1]
    assert evaluate(3, [one]) == first[:1]
    assert evaluate(4, [one]) != first[:1]  # every step has its own batch
    assert all(torch.equal(value, before[n]) for n, value in supernet.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": "fpnas"}, "search.algorithm: unknown algorithm 'fpnas'. Did you mean 'fp_"),
        (
            {"algorithm": {"name": "fp_nas", "min_samples": 30, "max_samples": 16}},
            r"search.algorithm: min_samples \(30\) must not exceed max_samples",
        ),
        (
            {"algorithm": {"name": "fp_nas", "coarse_fraction": 1.5}},
            "search.algorithm.coarse_fraction: input should be less",
        ),
        (
            {"algorithm": {"name": "evolution", "moves": 3}},
            "search.algorithm.moves: unknown key. Known: ",
        ),
        ({"step": 3}, "Did you mean 'steps'"),
        ({"evolution": {"population": 3}}, "search.evolution: moved to search.algorithm: {name: e"),
        ({"learning_rate": 1.0}, "search.learning_rate: moved to search.algorithm: {name: fp"),
        ({"weights": {"learn": False}}, "search.weights: removed"),
        ({"cost_weight": 5.0}, "search.cost_weight: removed: only networks within the budgets"),
    ],
)
def test_params_that_cannot_be_used_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        bind(change, "search", SearchParams)


def test_a_margin_keeps_candidates_that_far_below_the_latency_budget(
    world: Any, tmp_path: Path
) -> None:
    params = tmp_path / "params.yaml"
    text = (world.root / "params.yaml").read_text()
    params.write_text(text.replace("steps: 30", "steps: 30, latency_margin: 0.2"))
    run(world.flags("search", tmp_path / "out", params=params))
    content = read_json(tmp_path / "out" / "candidates.json", Candidates.SCHEMA)
    assert max(row["costs"]["latency_ms"] for row in content["candidates"]) <= 0.06 * 0.8
    assert content["latency_margin"] == 0.2


def test_a_margin_that_nothing_can_leave_shrinks_to_what_the_fastest_leaves(
    world: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    params = tmp_path / "params.yaml"
    text = (world.root / "params.yaml").read_text()
    params.write_text(text.replace("steps: 30", "steps: 30, latency_margin: 0.99"))
    run(world.flags("search", tmp_path / "out", params=params))
    content = read_json(tmp_path / "out" / "candidates.json", Candidates.SCHEMA)
    table = DeviceProfile.read(world.root / "profile").table
    fastest = world.space.extreme(lambda block: table.block_cost(block.key, "float32"))
    least = table.predict([block.key for block in fastest.present])
    assert content["latency_margin"] == pytest.approx(1 - least / 0.06, abs=1e-6)
    assert {row["costs"]["latency_ms"] for row in content["candidates"]} == {round(least, 6)}
    said = capsys.readouterr().out
    assert "with search.latency_margin 99.0%" in said
    assert f"searching with {content['latency_margin']:.1%}" in said


def test_no_margin_is_left_where_another_budget_excludes_the_fastest_architectures(
    world: Any,
) -> None:
    # The fewer parameters a block has, the longer it takes.
    block_ms = {block.key: 100 / block_parameters(block) for block in world.space.blocks()}
    measured = DeviceProfile.read(world.root / "profile").table
    table = replace(measured, block_ms=block_ms, block_macs=dict.fromkeys(block_ms, 0))
    smallest = world.space.extreme(block_parameters)
    slowest = table.predict([block.key for block in smallest.present])
    budget = Budget(latency_ms=slowest * 1.001, parameters=parameters(smallest))
    device = Device(backend="onnxruntime", budget=budget, min_accuracy=0.5)
    asked = search_budgets(world.space, "watch", device, table, 0.15)
    assert asked.margin == 0
    assert total_excess(smallest, asked.limits) == 0
    roomy = device.model_copy(update={"budget": Budget(latency_ms=slowest * 1.001)})
    assert search_budgets(world.space, "watch", roomy, table, 0.15).margin == 0.15


GATED = """
name: gated
sizes: [8, 64]
stem: {operator: conv, channels: 8, stride: 2, settings: {kernel: 3, activation: hard_swish}}
stages:
  - {layers: 2, stride: 2, channels: [8, 12], skip: true, operators: {mbconv: {kernel: [3, 5], expansion: [2], squeeze_excite: [0, 1]}}}
head: {operator: classifier, settings: {width: 16}}
"""  # noqa: E501


def test_a_device_that_runs_int8_is_searched_in_slices_of_the_whole_spaces_supernet(
    world: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without squeeze-excite; the stem's hard-swish stays, for the supernet has no other stem."""
    (tmp_path / "space.yaml").write_text(GATED)
    whole = SearchSpace.load(tmp_path / "space.yaml", (1, 16, 16), 10)
    weights = to_bytes(Supernet(whole, torch.Generator().manual_seed(0)))
    write_bytes(tmp_path / "supernet" / "supernet.safetensors", weights)
    device = "{backend: onnxruntime, precision: PRECISION, budget: {flops: 90000}, min_accuracy: 0}"
    text = (world.root / "params.yaml").read_text().replace("steps: 30", "steps: 3")
    found = {}
    for precision in ("int8", "float32"):
        params = tmp_path / "params.yaml"
        params.write_text(re.sub("(?<=  gpu: ).*", device.replace("PRECISION", precision), text))
        paths = {name: tmp_path / name for name in ("params.yaml", "space.yaml", "supernet")}
        changes = {name.removesuffix(".yaml"): path for name, path in paths.items()}
        run(world.flags("search", tmp_path / precision, "gpu", **changes))
        found[precision] = read_json(tmp_path / precision / "candidates.json", Candidates.SCHEMA)
        assert ("search excludes squeeze_excite" in capsys.readouterr().out) == (
            precision == "int8"
        )
    assert found["int8"]["left_out"] == ["stages.0.operators.mbconv.squeeze_excite: 1"]
    assert (found["int8"]["space"], found["float32"]["space"]) == ("gated for int8", "gated")
    assert found["float32"]["left_out"] == []
    networks = {
        precision: [Architecture.from_json(row["architecture"]) for row in content["candidates"]]
        for precision, content in found.items()
    }
    assert not any("squeeze_excite" in b.options for a in networks["int8"] for b in a.present)
    assert any("squeeze_excite" in b.options for a in networks["float32"] for b in a.present)
    for architecture in networks["int8"]:
        assert whole.architecture(whole.choices(architecture)) == architecture
