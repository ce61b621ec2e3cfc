"""What the supernet's benchmark stands on; its numbers are for whoever runs it."""

from benchmarks.supernet.cost import grown_space
from benchmarks.supernet.settling import settled
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
