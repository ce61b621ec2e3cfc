from pathlib import Path
from typing import Any

import pytest
import torch

from models.architecture import Architecture
from models.ranking import SCHEMA as CERTIFICATE_SCHEMA
from stages.common.files import FileFormatError, read_json, write_json
from stages.common.params import ParamsError, bind
from stages.common.schemas import CANDIDATES, RANKED
from stages.rank.indicators import INDICATORS
from stages.rank.params import RankParams
from stages.rank.stage import Candidate, Ranked, main, rank
from stages.rank.truth import evenly_spaced

FILES = ["ranking.json", "certificate.json"]


@pytest.fixture(scope="module")
def found(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search's output: the space's first architectures at even distances."""
    folder = tmp_path_factory.mktemp("search")
    numbers = range(0, world.space.count(), world.space.count() // 4)
    architectures = [world.space.from_index(number) for number in numbers]
    rows = [
        {"architecture": a.to_json(), "architecture_id": a.id, "costs": {"flops": index}}
        for index, a in enumerate(architectures)
    ]
    write_json(folder / "candidates.json", CANDIDATES, {"candidates": rows})
    return folder


def run(monkeypatch: pytest.MonkeyPatch, flags: list[str]) -> None:
    monkeypatch.setattr("sys.argv", ["rank", *flags])
    main()


def test_the_ranking_is_ordered_and_the_certificate_whole(
    world: Any, found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(monkeypatch, world.flags("rank", out, search=found))
    ranking = read_json(out / "ranking.json", RANKED)
    scores = [row["scores"]["supernet_accuracy"] for row in ranking["ranked"]]
    assert scores == sorted(scores, reverse=True)
    assert all(set(row["scores"]) == set(INDICATORS) for row in ranking["ranked"])
    best = ranking["ranked"][0]
    assert ranking["chosen"]["architecture_id"] == best["architecture_id"]
    assert Architecture.from_json(ranking["chosen"]["architecture"]).short() == best["short"]
    certificate = read_json(out / "certificate.json", CERTIFICATE_SCHEMA)
    assert certificate["num_architectures"] == 3
    assert set(certificate["tau"]) == {*INDICATORS, "depth", "flops", "parameters", "random"}
    assert all(set(tau) == {"value", "low", "high"} for tau in certificate["tau"].values())
    assert certificate["best_baseline"] in {"depth", "flops", "parameters", "random"}
    assert certificate["evidence"].startswith("Weak: 3 of")
    assert len(certificate["truth"]) == 3


def test_a_ranking_killed_with_9_continues_to_the_same_bytes(
    world: Any, found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(monkeypatch, world.flags("rank", whole, search=found))
    state = tmp_path / ".killed.partial" / "state.pt"
    flags = world.flags("rank", killed, search=found)
    assert world.kill_after("rank", flags, state.is_file) == -9
    assert torch.load(state, weights_only=True)["state"]["scores"]
    run(monkeypatch, flags)
    for name in FILES:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name


def test_without_ground_truth_the_certificate_is_empty_and_says_so(
    world: Any, found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = tmp_path / "params.yaml"
    text = (world.root / "params.yaml").read_text()
    params.write_text(text.replace("truth_architectures: 3", "truth_architectures: 0"))
    run(monkeypatch, world.flags("rank", tmp_path / "out", search=found, params=params))
    certificate = read_json(tmp_path / "out" / "certificate.json", CERTIFICATE_SCHEMA)
    assert certificate["num_architectures"] == 0
    assert {value for tau in certificate["tau"].values() for value in tau.values()} == {None}
    assert certificate["best_baseline"] is None
    assert certificate["evidence"].startswith("None")


def test_ties_keep_the_searchs_order(world: Any) -> None:
    candidates = [Candidate(world.space.from_index(n), {}) for n in (5, 3, 9)]
    scores = [0.5, 0.7, 0.5]
    ranked = [Ranked(c, {"any": s}) for c, s in zip(candidates, scores, strict=True)]
    assert rank(ranked, "any") == [ranked[1], ranked[0], ranked[2]]


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (99, list(range(10)))]
)
def test_ground_truth_spans_the_ranking(count: int, expected: list[int]) -> None:
    assert evenly_spaced(list(range(10)), count) == expected


def test_a_search_that_left_nothing_is_named(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileFormatError, match=r"candidates\.json: no such file"):
        run(monkeypatch, world.flags("rank", tmp_path / "out", search=tmp_path))


def test_an_unknown_indicator_is_named_with_the_nearest() -> None:
    values = {
        "images": 1, "recalibration_batches": 1, "batch": 2, "indicator": "bn_indicators",
        "truth_architectures": 0, "truth_steps": 1, "truth_batch": 2, "truth_learning_rate": 0.1,
        "bootstrap": 1, "threads": 1, "seed": 0,
    }  # fmt: skip
    with pytest.raises(ParamsError, match="Did you mean 'bn_indicator'"):
        bind(values, "rank", RankParams)
