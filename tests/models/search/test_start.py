"""Searches that start from a saved distribution."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import UserError
from core.files import FileFormatError, read_json, write_json
from core.stage import run_stage
from models.search.algorithms import ALGORITHMS
from models.search.algorithms.parsec import Parsec
from models.search.problem import Problem
from models.search.start import Start
from models.space.distribution import SCHEMA as DISTRIBUTION
from models.space.distribution import Distribution, Form
from models.space.space import SearchSpace
from stages.search import search
from tests.support import ROOT
from tests.worlds import each, search_params


def saved(file: Path, space: SearchSpace, form: Form = "joint", scale: float = 2.0) -> Distribution:
    flat = Distribution(space.groups, form)
    here = flat.with_logits(np.random.default_rng(0).normal(scale=scale, size=flat.size))
    write_json(file, DISTRIBUTION, here.to_json())
    return here


def searched(flags: list[str], out: Path) -> dict[str, Any]:
    run_stage(search, flags)
    return read_json(out / "start.json", "netwright/start/1")


def test_an_empty_folder_is_the_uniform_start(world: Any) -> None:
    start = Start.read(ROOT / "models/inputs/start", world.space.groups)
    assert (start.distribution, start.matched.found, start.describe(True)) == (None, (), "")
    assert start.report(0.5)["used"] is False


def test_a_folder_stands_for_its_distribution(world: Any, tmp_path: Path) -> None:
    whole = saved(tmp_path / "distribution.json", world.space)
    found = Start.read(tmp_path, world.space.groups).distribution
    assert found is not None
    assert found.entropy() == whole.entropy()
    (tmp_path / "distribution.json").rename(tmp_path / "other.json")
    with pytest.raises(FileFormatError, match=r"has files, but no distribution\.json"):
        Start.read(tmp_path, world.space.groups)


def test_weight_flattens_a_start(world: Any, tmp_path: Path) -> None:
    whole = saved(tmp_path / "saved.json", world.space)
    start = Start.read(tmp_path / "saved.json", world.space.groups).distribution
    problem = Problem(world.space.groups, each(lambda choices: 0.0), 64, start=start)
    entropies = []
    for weight in (1.0, 0.5, 0.0):
        here = Parsec(problem, search_params("parsec", {}, start_weight=weight)).distribution
        entropies.append(here.entropy())
    assert entropies[0] == pytest.approx(whole.entropy())
    assert entropies == sorted(entropies)
    assert entropies[2] == pytest.approx(Distribution(world.space.groups, "joint").entropy())


@pytest.mark.parametrize("form", ["joint", "factorised"])
def test_fp_nas_and_parsec_begin_with_the_starts_probabilities(
    world: Any, tmp_path: Path, form: Form
) -> None:
    product = saved(tmp_path / "saved.json", world.space, "factorised")
    write_json(tmp_path / "saved.json", DISTRIBUTION, product.as_form(form).to_json())
    start = Start.read(tmp_path / "saved.json", world.space.groups).distribution
    problem = Problem(world.space.groups, each(lambda choices: 0.0), 64, start=start)
    for name in ("fp_nas", "parsec"):
        params = search_params(name, {}, start_weight=1.0)
        here = ALGORITHMS[name](problem, params).distribution
        assert here is not None
        for choices in [(0,) * len(world.space.groups), (1,) * len(world.space.groups)]:
            assert here.log_prob(choices) == pytest.approx(product.log_prob(choices))


@pytest.mark.slow
def test_a_search_continues_another_and_reports_what_matched(
    world: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    uniform = searched(world.flags("search", first), first)
    assert (uniform["used"], uniform["matched_logits"]) == (False, 0)
    flags = world.flags("search", second, start=first / "distribution.json")
    report = searched(flags, second)
    assert report["used"] is True
    assert report["matched_logits"] == report["logits"]
    assert report["unused"] == []
    assert all(group["uniform"] == [] for group in report["groups"].values())
    assert "logits matched by name" in capsys.readouterr().out
    start = Start.read(first / "distribution.json", world.space.groups).distribution
    assert start is not None
    start = start.sharpened(0.5)
    with (second / "history.csv").open() as file:
        began = float(next(csv.DictReader(file))["entropy"])
    assert began == pytest.approx(start.as_form("factorised").entropy(), abs=1e-6)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ({"schema": "netwright/candidates/1"}, FileFormatError, "netwright/distribution/1"),
        ({"schema": DISTRIBUTION, "form": "other", "groups": {}}, UserError, "other"),
    ],
)
def test_a_start_that_is_no_distribution_is_refused(
    world: Any, tmp_path: Path, content: dict[str, Any], error: type[Exception], message: str
) -> None:
    (tmp_path / "start.json").write_text(json.dumps(content))
    with pytest.raises(error, match=message):
        Start.read(tmp_path / "start.json", world.space.groups)
