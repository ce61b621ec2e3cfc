import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.common.hops import HopError, compare

# No subnormal numbers: a stage run before in this process has told the processor to flush them.
ELEMENTS = st.floats(-9, 9, width=32, allow_subnormal=False)
LOGITS_NK = arrays(np.float32, (5, 3), elements=ELEMENTS)


@given(LOGITS_NK)
def test_a_form_that_gives_the_same_logits_passes_the_strictest_limits(logits_NK):
    hop = compare("a", "b", logits_NK, logits_NK.copy(), 0.0, 1.0)
    assert (hop.max_difference, hop.agreement, hop.passed) == (0.0, 1.0, True)


@given(LOGITS_NK, st.integers(0, 14), st.floats(0.5, 5))
def test_one_wrong_logit_is_found_wherever_it_is(logits_NK, place, error):
    other_NK = logits_NK.copy()
    other_NK.flat[place] += np.float32(error)
    hop = compare("a", "b", logits_NK, other_NK, 0.25, 0.0)
    assert hop.max_difference == pytest.approx(error, abs=1e-5)
    with pytest.raises(HopError, match="from a to b"):
        hop.require()


def test_a_logit_that_is_not_a_number_breaks_the_hop():
    good_NK = np.zeros((2, 3), np.float32)
    bad_NK = good_NK.copy()
    bad_NK[1, 2] = np.nan
    assert not compare("a", "b", good_NK, bad_NK, 1.0, 0.0).passed


def test_logits_of_different_images_cannot_be_compared():
    with pytest.raises(HopError, match="shape"):
        compare("a", "b", np.zeros((2, 3)), np.zeros((3, 3)), None, 0.0)


def test_only_agreement_counts_where_logits_may_differ():
    expected_NK = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    hop = compare("a", "b", expected_NK, 7 * expected_NK, None, 1.0)
    assert hop.passed
    assert hop.to_json()["limit"] == {"max_difference": None, "agreement": 1.0}
