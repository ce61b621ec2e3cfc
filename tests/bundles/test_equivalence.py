from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.nets.equivalence import (
    EquivalenceCheck,
    EquivalenceError,
    Limits,
    compare,
    require_checks,
    scaled,
    unmeasured_check,
)

# No subnormal numbers: a stage run before in this process has told the processor to flush them.
ELEMENTS = st.floats(-9, 9, width=32, allow_subnormal=False)
LOGITS_NK = arrays(np.float32, (5, 3), elements=ELEMENTS)
LABELS_N = np.array([0, 1, 2, 0, 1])
STRICT = Limits(0.0, 1.0, 0.0)


@given(LOGITS_NK)
def test_a_form_that_gives_the_same_logits_passes_the_strictest_limits(logits_NK):
    hop = compare("a", "b", logits_NK, logits_NK.copy(), LABELS_N, STRICT)
    assert (hop.max_difference, hop.agreement, hop.passed) == (0.0, 1.0, True)
    assert hop.source_accuracy == hop.target_accuracy == (logits_NK.argmax(1) == LABELS_N).mean()


@given(LOGITS_NK, st.integers(0, 14), st.floats(0.5, 5))
def test_one_wrong_logit_is_found_wherever_it_is(logits_NK, place, error):
    other_NK = logits_NK.copy()
    other_NK.flat[place] += np.float32(error)
    hop = compare("a", "b", logits_NK, other_NK, LABELS_N, Limits(0.25, 0.0, 1.0))
    assert hop.max_difference == pytest.approx(error, abs=1e-5)
    with pytest.raises(EquivalenceError, match="from a to b"):
        hop.require()


def test_a_logit_that_is_not_a_number_breaks_the_hop():
    good_NK = np.zeros((2, 3), np.float32)
    bad_NK = good_NK.copy()
    bad_NK[1, 2] = np.nan
    assert not compare("a", "b", good_NK, bad_NK, LABELS_N[:2], Limits(1.0, 0.0, 1.0)).passed


@pytest.mark.parametrize(("rows", "labels"), [(3, 2), (2, 3), (2, 0)])
def test_logits_of_different_images_cannot_be_compared(rows, labels):
    with pytest.raises(EquivalenceError, match="shape"):
        compare("a", "b", np.zeros((2, 3)), np.zeros((rows, 3)), LABELS_N[:labels], STRICT)


def test_answers_that_agree_less_than_allowed_break_the_hop():
    expected_NK = np.eye(3, dtype=np.float32)
    found_NK = expected_NK[[0, 1, 1]]
    hop = compare("a", "b", expected_NK, found_NK, LABELS_N[:3], Limits(None, 0.9, 1.0))
    assert hop.agreement == pytest.approx(2 / 3)
    assert not hop.agrees
    with pytest.raises(EquivalenceError, match=r"0.6667 of the predictions agree \(at least 0.9"):
        hop.require()


def test_lost_accuracy_breaks_a_hop_whose_answers_agree_enough_and_gained_accuracy_does_not():
    right_NK = np.eye(3, dtype=np.float32)
    wrong_NK = right_NK[[0, 1, 1]]
    limits = Limits(None, 0.5, 0.3)
    lost = compare("a", "b", right_NK, wrong_NK, LABELS_N[:3], limits)
    assert lost.agrees
    assert not lost.passed
    with pytest.raises(EquivalenceError, match=r"accuracy goes from 1.0000 to 0.6667"):
        lost.require()
    assert compare("a", "b", wrong_NK, right_NK, LABELS_N[:3], limits).passed


def test_a_limit_can_grow_with_the_logits():
    logits_NK = np.array([[1.0, -8.0]])
    assert scaled(0.5, logits_NK) == 4.0
    hop = compare("a", "b", logits_NK, -logits_NK, LABELS_N[:1], Limits(4.0, 0.0, 1.0))
    assert not hop.passed


GOOD = EquivalenceCheck("a", "b", 0.1, 0.99, 0.9, 0.89, 100, Limits(0.5, 0.9, 0.02))


def chain(**second):
    return [GOOD.to_json(), {**replace(GOOD, source="b", target="c").to_json(), **second}]


def test_a_whole_chain_of_good_hops_stands_and_an_unmeasured_end_is_no_break():
    end = unmeasured_check("c", "engine", Limits(None, 0.9, 0.05), "no GPU answers.")
    require_checks([*chain(), end])
    assert end["passed"] is end["agreement"] is end["accuracy"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_difference": 0.6}, "from b to c changes the network"),
        ({"agreement": 0.8}, "from b to c changes the network"),
        ({"accuracy": 0.87}, "from b to c changes the network"),
        ({"passed": False}, "from b to c is marked as failed"),
        ({"passed": None}, "from b to c is marked as failed"),
        ({"max_difference": None}, "from b to c was not checked"),
        ({"from": "x"}, "check from b to x is missing"),
    ],
)
def test_a_chain_breaks_at_the_hop_that_is_named_whatever_it_says_of_itself(change, message):
    with pytest.raises(EquivalenceError, match=message):
        require_checks(chain(**change))


def test_no_chain_is_no_good_chain():
    with pytest.raises(EquivalenceError, match="no equivalence checks"):
        require_checks([])
