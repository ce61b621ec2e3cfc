import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.nets.equivalence import (
    AppliedLimits,
    EquivalenceCheck,
    EquivalenceError,
    Limits,
    PrecisionLimits,
    compare,
    require_checks,
)

# No subnormal numbers: a stage run before in this process has told the processor to flush them.
ELEMENTS = st.floats(-9, 9, width=32, allow_subnormal=False)
LOGITS_NK = arrays(np.float32, (5, 3), elements=ELEMENTS)
LABELS_N = np.array([0, 1, 2, 0, 1])


def limits(max_difference, agreement, accuracy_drop):
    return AppliedLimits(
        max_difference=max_difference, agreement=agreement, accuracy_drop=accuracy_drop
    )


STRICT = limits(0.0, 1.0, 0.0)


@given(LOGITS_NK)
def test_a_variant_that_gives_the_same_logits_passes_the_strictest_limits(logits_NK):
    check = compare("a", "b", logits_NK, logits_NK.copy(), LABELS_N, STRICT)
    assert (check.max_difference, check.agreement, check.passed) == (0.0, 1.0, True)
    assert check.accuracy_before == check.accuracy == (logits_NK.argmax(1) == LABELS_N).mean()


@given(LOGITS_NK, st.integers(0, 14), st.floats(0.5, 5))
def test_one_wrong_logit_is_found_wherever_it_is(logits_NK, place, error):
    other_NK = logits_NK.copy()
    other_NK.flat[place] += np.float32(error)
    check = compare("a", "b", logits_NK, other_NK, LABELS_N, limits(0.25, 0.0, 1.0))
    assert check.max_difference == pytest.approx(error, abs=1e-5)
    with pytest.raises(EquivalenceError, match="from a to b"):
        check.require()


def test_a_logit_that_is_not_a_number_fails_the_check():
    good_NK = np.zeros((2, 3), np.float32)
    bad_NK = good_NK.copy()
    bad_NK[1, 2] = np.nan
    assert not compare("a", "b", good_NK, bad_NK, LABELS_N[:2], limits(1.0, 0.0, 1.0)).passed


@pytest.mark.parametrize(("rows", "labels"), [(3, 2), (2, 3), (2, 0)])
def test_logits_of_different_images_cannot_be_compared(rows, labels):
    with pytest.raises(EquivalenceError, match="shape"):
        compare("a", "b", np.zeros((2, 3)), np.zeros((rows, 3)), LABELS_N[:labels], STRICT)


def test_predictions_that_agree_less_than_allowed_fail_the_check():
    expected_NK = np.eye(3, dtype=np.float32)
    found_NK = expected_NK[[0, 1, 1]]
    check = compare("a", "b", expected_NK, found_NK, LABELS_N[:3], limits(None, 0.9, 1.0))
    assert check.agreement == pytest.approx(2 / 3, abs=1e-6)
    assert not check.agrees
    with pytest.raises(EquivalenceError, match=r"0.6667 of the predictions agree \(at least 0.9"):
        check.require()


def test_lost_accuracy_fails_a_check_whose_predictions_agree_and_gained_accuracy_does_not():
    right_NK = np.eye(3, dtype=np.float32)
    wrong_NK = right_NK[[0, 1, 1]]
    allowed = limits(None, 0.5, 0.3)
    lost = compare("a", "b", right_NK, wrong_NK, LABELS_N[:3], allowed)
    assert lost.agrees
    assert not lost.passed
    with pytest.raises(EquivalenceError, match=r"accuracy goes from 1.0000 to 0.6667"):
        lost.require()
    assert compare("a", "b", wrong_NK, right_NK, LABELS_N[:3], allowed).passed


def test_the_limit_of_a_lower_precision_grows_with_the_logits():
    logits_NK = np.array([[1.0, -8.0]])
    both = PrecisionLimits(lower=Limits(difference=0.5, agreement=0.9, accuracy_drop=0.1))
    assert both.of("int8", logits_NK) == limits(4.0, 0.9, 0.1)
    assert both.of("int8", None) == limits(None, 0.9, 0.1)
    assert both.of("float32", logits_NK) == limits(0.001, 0.999, 0.001)
    check = compare("a", "b", logits_NK, -logits_NK, LABELS_N[:1], limits(4.0, 0.0, 1.0))
    assert not check.passed


GOOD = EquivalenceCheck(
    source="a",
    target="b",
    max_difference=0.1,
    agreement=0.99,
    accuracy_before=0.9,
    accuracy=0.89,
    images=100,
    limit=limits(0.5, 0.9, 0.02),
    passed=True,
)


def chain(**second):
    return [GOOD, GOOD.model_copy(update={"source": "b", "target": "c", **second})]


def test_a_complete_sequence_of_passed_checks_passes_also_with_an_unmeasured_end():
    end = EquivalenceCheck(
        source="c", target="engine", limit=limits(None, 0.9, 0.05), why_not_measured="no GPU."
    )
    require_checks([*chain(), end])
    assert end.passed is end.agreement is end.accuracy is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_difference": 0.6}, "from b to c changes the network"),
        ({"agreement": 0.8}, "from b to c changes the network"),
        ({"accuracy": 0.87}, "from b to c changes the network"),
        ({"passed": False}, "from b to c is marked as failed"),
        ({"passed": None}, "from b to c is marked as failed"),
        ({"max_difference": None}, "from b to c was not checked"),
        ({"source": "x"}, "check from b to x is missing"),
    ],
)
def test_a_failed_check_is_named_whatever_it_records_of_itself(change, message):
    with pytest.raises(EquivalenceError, match=message):
        require_checks(chain(**change))


def test_an_empty_sequence_of_checks_fails():
    with pytest.raises(EquivalenceError, match="no equivalence checks"):
        require_checks([])
