import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.files import FileFormatError, read_json
from core.settings import ParamsError, bind, derive_seed
from core.stage import run_stage
from data.stream import eval_batches
from models.nets.supernet import Supernet
from models.nets.weights import to_bytes
from models.predict.predictor import SCHEMA as PREDICTOR
from models.predict.ranking import mean_ranks
from models.search.evaluation import recalibrated_evaluation
from models.search.rank.indicators import (
    AGGREGATE,
    INDICATORS,
    PREDICTED,
    Evidence,
    supernet_accuracy,
)
from models.search.rank.predictor import accuracy_predictor
from models.search.rank.result import Ranking
from models.search.rank.scores import Ranked, sort_by
from models.search.rank.settings import RankParams
from models.space.architecture import Architecture
from models.space.costs import depth
from models.space.space import SearchSpace
from models.space.stage_features import stage_features, stage_sizes
from models.training.learning import Images
from stages.rank import rank
from tests import formula
from tests.spaces import all_architectures, architecture_at, sample_choices
from tests.worlds import candidates_of

VALUES: dict[str, object] = {
    "images": 1, "recalibration_batches": 1, "batch": 2, "indicator": "bn_indicator",
}  # fmt: skip


@pytest.fixture(scope="module")
def found(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search's output: the space's first architectures at even distances."""
    folder = tmp_path_factory.mktemp("search")
    numbers = range(0, world.space.count(), world.space.count() // 4)
    architectures = [architecture_at(world.space, number) for number in numbers]
    candidates_of(architectures).write(folder)
    return folder


def run(flags: list[str]) -> None:
    run_stage(rank, flags)


def test_the_ranking_is_ordered_by_the_nll_on_all_validation_images(
    world: Any, found: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(world.flags("rank", out, search=found))
    ranking = read_json(out / "ranking.json", Ranking.SCHEMA)
    scores = [row["scores"]["supernet_log_likelihood"] for row in ranking["ranked"]]
    assert scores == sorted(scores, reverse=True)
    assert (scores, accuracies(ranking)) == on_all_images(world, ranking)
    # No search ran here, so there is no history to fit a predictor on.
    names = {*INDICATORS, AGGREGATE} - {PREDICTED}
    assert all(set(row["scores"]) == names for row in ranking["ranked"])
    assert not list(out.glob("predictor.*"))
    best = ranking["ranked"][0]
    assert ranking["chosen"]["architecture_id"] == best["architecture_id"]
    assert Architecture.from_json(ranking["chosen"]["architecture"]).short() == best["short"]
    assert {file.name for file in out.iterdir()} == {"ranking.json"}


def accuracies(ranking: dict[str, Any]) -> list[float]:
    return [row["scores"]["supernet_accuracy"] for row in ranking["ranked"]]


def on_all_images(world: Any, ranking: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Negative NLLs and accuracies of the ranked networks on the whole validation split."""
    supernet = Supernet(world.space, torch.Generator().manual_seed(0))
    images = Images.read(world.root / "data")
    held_out = list(eval_batches(images.val, images.info, 64))
    assert sum(len(batch.labels_N) for batch in held_out) == len(images.val)
    calibration = images.calibration(2, 64, derive_seed(0, "rank"))
    judge = recalibrated_evaluation(supernet, calibration, held_out)
    by_id = {one.id: one for one in all_architectures(world.space)}
    found = judge(0, [by_id[row["architecture_id"]] for row in ranking["ranked"]])
    return [round(-one.nll, 6) for one in found], [round(one.accuracy, 6) for one in found]


@pytest.mark.slow
def test_a_ranking_killed_with_9_continues_to_the_same_bytes(
    world: Any, found: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(world.flags("rank", whole, search=found))
    state = tmp_path / ".killed.partial" / "state.pt"
    flags = world.flags("rank", killed, search=found)
    assert world.kill_after("rank", flags, state.is_file) == -9
    assert torch.load(state, weights_only=True)["state"]["scores"]
    run(flags)
    name = "ranking.json"
    assert (killed / name).read_bytes() == (whole / name).read_bytes()


def test_ties_keep_the_searchs_order(world: Any) -> None:
    candidates = candidates_of([architecture_at(world.space, n) for n in (5, 3, 9)]).candidates
    scores = [0.5, 0.7, 0.5]
    ranked = [Ranked(c, {"any": s}) for c, s in zip(candidates, scores, strict=True)]
    assert sort_by(ranked, "any") == [ranked[1], ranked[0], ranked[2]]


def test_a_search_that_left_nothing_is_named(world: Any, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"candidates\.json: no such file"):
        run(world.flags("rank", tmp_path / "out", search=tmp_path))


def write_history(file: Path, space: SearchSpace, steps: int) -> None:
    """A search whose NLL falls with the network's size, on batches that differ far more."""
    rng = np.random.default_rng(0)
    lines = ["step,choices,nll"]
    for step in range(steps):
        batch = rng.normal(0, 0.5)
        for row in sample_choices(space, 3, rng).tolist():
            size = depth(space.architecture(row))
            nll = 1 - 0.1 * size + batch + rng.normal(0, 0.01)
            lines.append(f"{step},{' '.join(map(str, row))},{nll:.6f}")
    file.write_text("\n".join(lines) + "\n")


def test_a_searchs_history_predicts_through_batches_that_differ(
    world: Any, found: Path, tmp_path: Path
) -> None:
    search, params = tmp_path / "search", tmp_path / "params.yaml"
    shutil.copytree(found, search)
    write_history(search / "history.csv", world.space, 40)
    joint = f"indicator: {AGGREGATE}, aggregate: [bn_indicator, {PREDICTED}]"
    text = (world.root / "params.yaml").read_text()
    params.write_text(text.replace("indicator: supernet_log_likelihood", joint))
    run(world.flags("rank", tmp_path / "out", search=search, params=params))
    content = read_json(tmp_path / "out" / "predictor.json", PREDICTOR)
    assert content["notes"]["error"]["r2"] > 0.9  # on steps not seen
    alone = {name: worth["alone"] for name, worth in content["notes"]["added"].items()}
    assert max(alone, key=alone.__getitem__).endswith(".depth")
    assert (tmp_path / "out" / "predictor.png").read_bytes().startswith(b"\x89PNG")
    assert content["unit"] == "nats"
    rows = read_json(tmp_path / "out" / "ranking.json", Ranking.SCHEMA)["ranked"]
    joined = [row["scores"][AGGREGATE] for row in rows]
    assert joined == sorted(joined, reverse=True)
    ids = {architecture_at(world.space, n).id: n for n in range(world.space.count())}
    for row in rows:
        network = architecture_at(world.space, ids[row["architecture_id"]])
        features = stage_features(network, stage_sizes(world.space.groups))
        predicted = formula.predict(content, features)
        assert row["scores"][PREDICTED] == pytest.approx(-predicted, abs=1e-5)


def test_a_predictor_without_evidence_is_refused_only_where_it_is_asked_for(
    world: Any, found: Path, tmp_path: Path
) -> None:
    params = tmp_path / "params.yaml"
    text = (world.root / "params.yaml").read_text()
    params.write_text(text.replace("indicator: supernet_log_likelihood", f"indicator: {PREDICTED}"))
    flags = world.flags("rank", tmp_path / "out", search=found, params=params)
    with pytest.raises(UserError, match=r"the search left no history\.csv\. Raise"):
        run(flags)
    write_history(tmp_path / "history.csv", world.space, 2)
    few = accuracy_predictor(tmp_path / "history.csv", world.space, 0)
    assert isinstance(few, str)
    assert "compared 6 different architectures" in few
    lines = (tmp_path / "history.csv").read_text().splitlines()
    unseen = [lines[0], *(line.rpartition(",")[0] + "," for line in lines[1:])]
    (tmp_path / "history.csv").write_text("\n".join(unseen) + "\n")
    none = accuracy_predictor(tmp_path / "history.csv", world.space, 0)
    assert "compared 0 different architectures" in str(none)
    (tmp_path / "history.csv").write_text("step,choices,nll\n0,9 9,0.5\n")
    with pytest.raises(FileFormatError, match="is not a history of space 'tiny'"):
        accuracy_predictor(tmp_path / "history.csv", world.space, 0)


def test_scoring_with_recalibrated_batch_norms_leaves_the_supernet_to_the_byte(world: Any) -> None:
    supernet = Supernet(world.space, torch.Generator().manual_seed(0))
    before = hashlib.sha256(to_bytes(supernet)).hexdigest()
    images = Images.read(world.root / "data")
    evidence = Evidence(
        supernet, images.calibration(2, 64, 0), list(eval_batches(images.val, images.info, 100))
    )
    network = architecture_at(world.space, 17)
    once = supernet_accuracy(evidence, network)
    assert supernet_accuracy(replace(evidence), network) == once
    assert hashlib.sha256(to_bytes(supernet)).hexdigest() == before
    assert supernet.training  # as it was


def test_a_mean_rank_joins_scores_of_any_unit() -> None:
    scores = {"accuracy": [0.9, 0.7, 0.8, 0.8], "gammas": [3.0, 100.0, 2.0, 1.0]}
    #          ranks:       3    0    1.5  1.5              2    3      1    0
    assert mean_ranks(scores) == pytest.approx([5 / 6, 3 / 6, 2.5 / 6, 1.5 / 6])
    assert mean_ranks({"accuracy": [0.3]}) == [0.5]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["bn_indicator"], "two or more"),
        (["bn_indicator", "bn_indicator"], "two or more different"),
        (["bn_indicator", "supernet_acuracy"], "Did you mean 'supernet_accuracy'"),
        (["bn_indicator", "aggregate"], "unknown indicator"),
    ],
)
def test_an_aggregate_that_joins_nothing_is_named(names: list[str], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        bind(VALUES | {"indicator": "aggregate", "aggregate": names}, "rank", RankParams)


@pytest.mark.parametrize("key", ["truth_architectures", "truth_steps", "truth_batch"])
def test_ground_truth_is_no_longer_trained_here(key: str) -> None:
    with pytest.raises(ParamsError, match=f"rank.{key}: removed: .* the stage race"):
        bind(VALUES | {key: 4}, "rank", RankParams)


def test_an_unknown_indicator_is_named_with_the_nearest() -> None:
    assert bind(VALUES, "rank", RankParams).aggregate[0] == "supernet_log_likelihood"
    with pytest.raises(ParamsError, match="Did you mean 'bn_indicator'"):
        bind(VALUES | {"indicator": "bn_indicators"}, "rank", RankParams)
