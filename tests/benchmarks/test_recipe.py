"""The recipes' benchmark on digits."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.recipe import __main__ as recipe
from benchmarks.recipe.arms import QUESTIONS, Arm, Question
from benchmarks.recipe.report import describe
from benchmarks.recipe.training import affordable_steps, draw, mean_cost
from models.space.costs import flops
from models.space.space import SearchSpace
from models.training.learning import NetworkParams
from tests.benchmarks.conftest import SPACE, write_digits


def test_arms_have_settings_that_exist_and_a_base() -> None:
    for question in QUESTIONS.values():
        assert question.base in question.arms
        for arm in question.arms.values():
            NetworkParams.model_validate(arm.settings)


def test_smaller_images_buy_more_steps_at_the_same_cost() -> None:
    full, small = NetworkParams(batch=64), NetworkParams(batch=64, first_size=0.5)
    assert affordable_steps(64_000, full) == 1000
    steps = affordable_steps(64_000, small)
    assert steps > 1100
    assert steps * mean_cost(small) == pytest.approx(1000, rel=1e-3)


def test_networks_are_drawn_by_seed_below_a_cost(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    space = SearchSpace.load(tmp_path / "space.yaml", (1, 16, 16), 10)
    most = float(np.median([flops(space.sample(np.random.default_rng(s))) for s in range(30)]))
    drawn = [draw(space, seed, most) for seed in range(6)]
    assert drawn == [draw(space, seed, most) for seed in range(6)]
    assert len(set(drawn)) > 1
    assert all(flops(one) <= most for one in drawn)


def row(val: float, *nlls: float) -> dict[str, object]:
    rungs = {
        share: {"nll": nll, "val": 1 - nll} for share, nll in zip(("0.25",), nlls, strict=True)
    }
    return {"val": val, "nll": 1 - val, "rungs": rungs, "last": {"val": val - 0.01}}


def test_arms_are_compared_on_the_networks_they_share() -> None:
    arms = {"a": Arm({}), "b": Arm({}), "unfinished": Arm({})}
    question = Question("?", arms, "a", 100, rungs=(0.25,))
    found = {
        ("digits", 0): {"a": row(0.5, 0.4), "b": row(0.6, 0.4)},
        ("digits", 1): {"a": row(0.7, 0.2), "b": row(0.9, 0.5)},
        ("digits", 2): {"b": row(0.1, 0.9)},
    }
    text = describe(question, found)
    assert "| `a` | 60.00 | - | - | - | +1.00 | 2 |" in text
    assert "| `b` | 75.00 | +15.00" in text
    assert "unfinished" not in text
    assert "| digits | `a` | 0.25 | 1.00 | 1.00 | 0.00 | yes |" in text
    assert "| digits | `b` | 0.25 | -1.00 | -1.00 | 30.00 | no |" in text


@pytest.mark.slow
def test_a_stopped_benchmark_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    write_digits(tmp_path / "data")
    arms = {"plain": Arm({"batch": 16}), "small": Arm({"batch": 16, "first_size": 0.5})}
    tiny = Question("Tiny", arms, "plain", passes=128, networks=2, rungs=(0.5,))
    monkeypatch.setitem(recipe.ALL, "rates", tiny)
    flags = ["rates", f"--data={tmp_path / 'data'}", f"--space={tmp_path / 'space.yaml'}"]
    flags += [f"--work={tmp_path / 'work'}", f"--out={tmp_path / 'page.md'}", "--flops=1e6"]
    recipe.main([*flags, "--runs=3"])
    assert capsys.readouterr().out.count("run: done") == 3
    recipe.main(flags)
    assert capsys.readouterr().out.count("run: done") == 1
    page = (tmp_path / "page.md").read_text()
    assert "## Tiny" in page
    assert "| data, tiny | `small` | 0.5 |" in page
