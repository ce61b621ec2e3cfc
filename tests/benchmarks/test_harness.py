"""The harness: paired differences, kept runs, interleaved timing, pages."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.harness.compare import Difference, arms_table, differences_table, spread_of
from benchmarks.harness.markdown import table, verdict, write_sections
from benchmarks.harness.presets import TORCHVISION, torchvision_network
from benchmarks.harness.runs import Row, Runs
from benchmarks.harness.timing import Timing, interleaved


def test_differences_are_paired_with_students_interval() -> None:
    found = Difference.of([0.91, 0.93, 0.95], [0.90, 0.91, 0.92])
    assert (found.mean, found.std) == pytest.approx((0.02, 0.01))
    reach = 4.302653 * 0.01 / 3**0.5
    assert found.interval() == pytest.approx((0.02 - reach, 0.02 + reach))
    assert found.verdict == "undecided"
    assert found.shown(2, 100) == "+2.00 (-0.48 to +4.48)"
    assert Difference.of([0.91, 0.92, 0.93], [0.81, 0.82, 0.83]).verdict == "better"
    assert Difference.of([0.81, 0.82, 0.83], [0.91, 0.92, 0.93]).verdict == "worse"


def test_one_seed_decides_nothing() -> None:
    found = Difference.of([0.9], [0.1])
    assert (found.verdict, found.interval()) == ("undecided", (-math.inf, math.inf))
    assert not found.below(100)
    assert "undecided" in differences_table({"a": [0.9], "b": [0.1]}, [("a", "b")])
    assert "| a | 0.9000 | **0.9000** | - |" in arms_table({"a": [0.9]}, "arm")
    assert spread_of([1.0], 1) == "1.0"


def test_equal_is_what_both_one_sided_tests_show() -> None:
    rng = np.random.default_rng(0)
    base, noise = rng.normal(size=20), rng.normal(size=20)
    near = Difference.of((base + 0.01 * noise).tolist(), base.tolist())
    assert near.equal(0.1)
    assert near.verdict != "worse"
    worse = Difference.of((base - 1.0 + 0.1 * noise).tolist(), base.tolist())
    assert (worse.verdict, worse.equal(0.1), worse.below(0.1)) == ("worse", False, True)
    vague = Difference.of(rng.normal(size=20).tolist(), base.tolist())
    assert not vague.equal(0.1)  # large noise shows nothing


def test_a_stopped_benchmark_repeats_no_run_and_others_inputs_are_not_reused(
    tmp_path: Path,
) -> None:
    calls: list[str] = []

    def arm(name: str, seed: int) -> Row:
        calls.append(f"{name}{seed}")
        if len(calls) == 4:
            raise KeyboardInterrupt
        return {"accuracy": seed / 2}

    arms = {"a, b": lambda seed: arm("a", seed), "c": lambda seed: arm("c", seed)}
    with pytest.raises(KeyboardInterrupt):
        Runs(tmp_path, "inputs").every(arms, range(2))
    assert calls == ["a0", "c0", "a1", "c1"]  # whole pairs first
    found = Runs(tmp_path, "inputs").every(arms, range(2))
    assert calls[4:] == ["c1"]
    assert found == {name: [{"accuracy": 0.0}, {"accuracy": 0.5}] for name in arms}
    Runs(tmp_path, "others").every(arms, range(1))
    assert calls[5:] == ["a0", "c0"]


def test_blocks_alternate_and_ratios_are_taken_block_by_block() -> None:
    calls: list[str] = []
    things = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    found = interleaved(things, blocks=3, calls=2)
    assert "".join(calls) == "aabb" + "bbaa" + "aabb" + "bbaa"
    assert {len(timing.blocks) for timing in found.values()} == {3}
    ratio, spread = Timing((1.0, 8.0, 3.0)).over(Timing((2.0, 8.0, 1.0)))
    assert (ratio, spread) == (1.0, 2.5)
    assert Timing((1.0, 8.0, 3.0)).seconds == 3.0


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "results.md"
    write_sections(file, "Title", {"One": "first", "Two": table(("a", "b"), [("1", "2")])})
    write_sections(file, "Title", {"One": "again", "Three": "third"})
    assert file.read_text() == (
        "# Title\n\n## One\n\nagain\n\n## Two\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n"
        "## Three\n\nthird\n"
    )


@pytest.mark.parametrize(("value", "word"), [(0.49, "met"), (0.5, "met"), (0.51, "missed")])
def test_a_verdict_says_whether_the_goal_is_met(value: float, word: str) -> None:
    assert word in verdict("what", value, 0.5)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_networks_take_small_images_and_repeat(name: str) -> None:
    one, other = (torchvision_network(name, 1, 10, seed=3).eval() for _ in range(2))
    images_NCHW = torch.randn(1, 1, 28, 28)
    with torch.no_grad():
        assert one(images_NCHW).shape == (1, 10)
        assert torch.equal(one(images_NCHW), other(images_NCHW))
