"""What the supernet's benchmark stands on; its numbers are for whoever runs it."""

from pathlib import Path

import pytest

from benchmarks.results import replace_sections, table, verdict
from benchmarks.supernet_cost import grown_space
from benchmarks.supernet_ranking import settled
from benchmarks.timing import Timing, interleaved
from models.space.costs import block_flops


def test_spaces_grow_to_a_thousand_blocks_a_layer_around_one_largest_network() -> None:
    spaces = [grown_space(count) for count in (10, 100, 1000)]
    assert len({space.extreme(block_flops, largest=True) for space in spaces}) == 1
    for space, wanted in zip(spaces, (10, 100, 1000), strict=True):
        layers = space.possible()[2:-1]
        assert all(0.75 * wanted <= len(blocks) <= wanted for blocks in layers)


def test_a_ranking_has_settled_when_it_never_leaves_again() -> None:
    steps = [1, 2, 3, 4]
    assert settled(steps, [0.96, 0.90, 0.97, 1.0]) == 3
    assert settled(steps, [0.96, 0.95, 0.97, 1.0]) == 1
    assert settled(steps, [0.0, 0.0, 0.0, 1.0]) == 4


def test_ratios_are_taken_block_by_block() -> None:
    ratio, spread = Timing((1.0, 8.0, 3.0)).over(Timing((2.0, 8.0, 1.0)))
    assert (ratio, spread) == (1.0, 2.5)
    assert Timing((1.0, 8.0, 3.0)).seconds == 3.0


def test_blocks_take_turns() -> None:
    calls: list[str] = []
    things = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    found = interleaved(things, blocks=3, calls=2)
    assert "".join(calls) == "aabb" + "bbaa" + "aabb" + "bbaa"
    assert {len(timing.blocks) for timing in found.values()} == {3}


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "results.md"
    replace_sections(file, "Title", {"One": "first", "Two": table(("a", "b"), [("1", "2")])})
    replace_sections(file, "Title", {"One": "again", "Three": "third"})
    assert file.read_text() == (
        "# Title\n\n## One\n\nagain\n\n## Two\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n"
        "## Three\n\nthird\n"
    )


@pytest.mark.parametrize(("value", "word"), [(0.49, "met"), (0.5, "met"), (0.51, "missed")])
def test_a_verdict_says_whether_the_goal_is_met(value: float, word: str) -> None:
    assert word in verdict("what", value, 0.5)
