from models.search.race.contest import Contest, Proposal, Winner
from models.space.costs import flops
from tests.races import contest, networks, standing

A, B, C, D = networks(4)


def test_a_network_that_is_proposed_twice_takes_part_once_with_both_origins() -> None:
    found = contest("one", [A, B], controls=[B, C])
    assert found.networks == [A, B, C]
    assert found.controls == [B, C]
    assert found.origins(B) == ("search", "control")
    more = found.extended([Proposal(D, "guided")])
    assert more.networks == [A, B, C, D]
    assert found.networks == [A, B, C]


def test_the_lowest_nll_is_the_best_and_equal_ones_keep_a_fixed_order() -> None:
    standings = {A.id: standing(4, 2.0), B.id: standing(4, 1.0), C.id: standing(4, 1.0)}
    first, second = sorted([B, C], key=lambda one: one.id)
    one = contest("one", [A, B, C])
    assert one.best([A, B, C], standings, 2) == [first, second]
    assert one.best([C, A, B], standings, 3) == [first, second, A]
    assert one.best([A], standings, 3) == [A]


def decide(margin: float, noise: float | None, *costs: tuple[float, ...]) -> Winner:
    """The winner of A with NLL 1, and B with `margin` more; `costs` of both."""
    by_id = dict(zip((A.id, B.id), costs or ((2.0, 5.0), (1.0, 5.0)), strict=True))
    one = contest("one", [A, B], preference=lambda network: by_id[network.id])
    standings = {A.id: standing(16, 1.0), B.id: standing(16, 1.0 + margin)}
    return one.winner([B, A], standings, noise)


def test_a_margin_above_the_noise_wins_whatever_it_costs() -> None:
    assert decide(0.25, 0.125) == Winner(A, B, 0.25)
    assert decide(0.25, 0.25) == Winner(A, B, 0.25)


def test_within_the_noise_the_faster_wins_then_the_smaller() -> None:
    assert decide(0.25, 0.5) == Winner(B, A, 0.25, tie=True)
    assert decide(0.25, 0.5, (1.0, 5.0), (2.0, 4.0)) == Winner(A, B, 0.25, tie=True)
    assert decide(0.25, 0.5, (1.0, 5.0), (1.0, 4.0)) == Winner(B, A, 0.25, tie=True)
    equal = decide(0.25, 0.5, (1.0, 5.0), (1.0, 5.0))
    assert equal.architecture == min((A, B), key=lambda one: one.id)


def test_without_an_estimate_of_the_noise_there_is_no_tie() -> None:
    assert decide(1e-9, None).architecture == A
    assert not decide(1e-9, None).tie


def test_only_the_two_best_can_tie() -> None:
    """C is the cheapest and within the noise, but third."""
    one = contest("one", [A, B, C], preference=lambda network: (float(network != C),))
    standings = {A.id: standing(16, 1.0), B.id: standing(16, 1.1), C.id: standing(16, 1.2)}
    found = one.winner([A, B, C], standings, 0.5)
    assert found.architecture in (A, B)
    assert found.second in (A, B)


def test_a_single_finalist_wins_without_a_margin() -> None:
    one: Contest = contest("one", [A], preference=lambda network: (float(flops(network)),))
    assert one.winner([A], {A.id: standing(16, 1.0)}, 0.5) == Winner(A, None, None)
