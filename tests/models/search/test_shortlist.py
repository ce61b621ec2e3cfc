"""The shortlist of a finished search: evaluated again on the same images."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from core.settings import derive_seed
from core.stage import run_stage
from data.stream import eval_batches
from models.nets.supernet import Supernet
from models.search.candidates import Candidates
from models.search.evaluation import recalibrated_evaluation
from models.training.learning import Images
from stages.search import search

pytestmark = pytest.mark.slow

FILES = ["candidates.json", "distribution.json", "history.csv", "search.png", "start.json"]


def test_candidates_are_ordered_by_recalibrated_slices_on_the_same_images(
    world: Any, tmp_path: Path
) -> None:
    run_stage(search, world.flags("search", tmp_path / "out"))
    content = Candidates.read(tmp_path / "out")
    with (tmp_path / "out" / "history.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["step"] == "30"]
    assert len(rows) == content.judged_architectures
    supernet = Supernet(world.space, torch.Generator().manual_seed(0))
    images = Images.read(world.root / "data")
    held_out = list(eval_batches(images.val, images.info, 500))
    calibration = images.calibration(2, 64, derive_seed(0, "search"))
    judge = recalibrated_evaluation(supernet, calibration, held_out)
    losses = {}
    for row in rows:
        network = world.space.architecture([int(word) for word in row["choices"].split()])
        (found,) = judge(0, [network])
        assert (row["nll"], row["accuracy"]) == (f"{found.nll:.6f}", f"{found.accuracy:.6f}")
        assert (row["omega"], row["entropy"]) == ("", "")
        losses[network.id] = found.nll
    best = sorted(losses, key=losses.__getitem__)
    assert [one.architecture_id for one in content.candidates] == best[:5]
    assert [one.nll for one in content.candidates] == [round(losses[key], 6) for key in best[:5]]


def test_a_search_killed_in_its_shortlist_continues_to_the_same_bytes(
    world: Any, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_stage(search, world.flags("search", whole))
    state = tmp_path / ".killed.partial" / "state.pt"

    def judged() -> list[Any]:
        return torch.load(state, weights_only=True)["state"]["algorithm"]["judged"]  # type: ignore[no-any-return]

    flags = world.flags("search", killed)
    assert world.kill_after("search", flags, lambda: state.is_file() and bool(judged())) == -9
    assert 0 < len(judged()) < 15
    run_stage(search, flags)
    for name in FILES:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
