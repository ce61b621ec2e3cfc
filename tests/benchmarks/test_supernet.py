"""Parts of the supernet's benchmark."""

import pytest

from benchmarks.supernet.__main__ import grown_space, main
from models.space.costs import block_flops


def test_spaces_grow_to_a_thousand_blocks_a_layer_around_one_largest_network() -> None:
    spaces = [grown_space(count) for count in (10, 100, 1000)]
    assert len({space.extreme(block_flops, largest=True) for space in spaces}) == 1
    for space, wanted in zip(spaces, (10, 100, 1000), strict=True):
        layers = space.possible()[2:-1]
        assert all(0.75 * wanted <= len(blocks) <= wanted for blocks in layers)


@pytest.mark.slow
def test_a_section_runs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["bn_only", "--quick", "--threads=1"])
    text = capsys.readouterr().out
    assert "Batch norms alone over a full step" in text
