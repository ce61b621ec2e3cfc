"""Selection of the delivered precision."""

import pytest

from core.errors import UserError
from devices.device import Budget, Device
from devices.quantize.result import Candidate
from devices.quantize.selection import choose, rejection
from models.nets.equivalence import AppliedLimits, EquivalenceCheck, EquivalenceError


def check(name, agreement=0.99, after=0.9):
    return EquivalenceCheck(
        source="float32 ONNX",
        target=f"{name} ONNX",
        max_difference=0.5,
        agreement=agreement,
        accuracy_before=0.9,
        accuracy=after,
        images=100,
        limit=AppliedLimits(max_difference=9.0, agreement=0.9, accuracy_drop=0.05),
    )


def candidate(name, val=0.9, ms=None, agreement=0.99, **measured):
    precision, _, method = name.partition("-")
    return Candidate(
        name=name,
        precision=precision,
        method=method or "none",
        source="float32",
        accuracy=0.9,
        val_accuracy=val,
        agreement=agreement,
        latency_ms=ms,
        size_bytes=100,
        rejected=rejection(name, 0.9 - val, check(name, agreement), device()),
        **measured,
    )


def device(**settings):
    common = {"backend": "onnxruntime", "budget": Budget(latency_ms=1.0), "min_accuracy": 0.5}
    return Device(**{**common, **settings})


def test_the_fastest_precision_within_the_accuracy_budget_is_chosen():
    both = [candidate("float32", ms=0.2), candidate("int8", val=0.895, ms=0.1)]
    chosen, reason = choose(both, "box", device(), ("float32", "int8"), "")
    assert chosen.precision == "int8"
    assert "0.100 ms" in reason
    assert "0.200 ms" in reason


@pytest.mark.parametrize(
    ("int8", "settings", "expected"),
    [
        ({"ms": 0.2}, {}, "float32"),
        ({"ms": 0.1}, {}, "float32"),
        ({"ms": 0.098, "val": 0.91}, {}, "float32"),
        ({"ms": 0.05, "agreement": 0.5}, {}, "float32"),
        ({"ms": 0.2}, {"precision": "int8"}, "int8"),
    ],
    ids=["slower", "as fast", "hardly faster", "not equivalent", "fixed"],
)
def test_int8_is_delivered_only_if_it_is_faster_and_equivalent_or_requested(
    int8, settings, expected
):
    both = [candidate("float32", ms=0.1), candidate("int8", **int8)]
    offered = ("float32", "int8")
    chosen, _ = choose(both, "box", device(**settings), offered, "", same_speed=0.03)
    assert chosen.precision == expected


def test_a_precision_that_loses_too_much_accuracy_is_not_chosen_and_the_reason_says_so():
    both = [candidate("float32", ms=0.2), candidate("int8", val=0.85, ms=0.1)]
    chosen, reason = choose(both, "box", device(), ("float32", "int8"), "")
    assert chosen.precision == "float32"
    assert "int8 loses 0.0500" in reason


def test_without_measurements_float32_is_delivered_and_the_reason_says_how_to_choose():
    rows = [
        candidate("float32"),
        candidate("float16"),
        candidate("int8", val=0.5),
    ]
    chosen, reason = choose(
        rows, "box", device(), ("float32", "float16", "int8"), "no GPU answers."
    )
    assert chosen.precision == "float32"
    assert "latency was not measured: no GPU answers" in reason
    assert "set devices.box.precision to deliver float16 instead" in reason
    assert "int8 loses 0.4000" in reason


def test_a_runtime_without_float32_gets_its_default_or_the_next_precision_in_budget():
    offered = ("int8", "float16")
    rows = [candidate("float32"), candidate("int8"), candidate("float16")]
    chosen, reason = choose(rows, "box", device(), offered, "it is emulated.")
    assert chosen.precision == "int8"
    assert "set devices.box.precision to deliver float16 instead" in reason
    rows[1] = candidate("int8", val=0.5)
    chosen, reason = choose(rows, "box", device(), offered, "it is emulated.")
    assert chosen.precision == "float16"
    assert "int8 loses 0.4000" in reason
    rows[2] = candidate("float16", agreement=0.1)
    with pytest.raises(UserError, match=r"int8 loses .*; float16 agrees .*max_accuracy_drop or"):
        choose(rows, "box", device(), offered, "it is emulated.")


def test_accuracy_on_the_test_split_stops_a_release_but_is_not_used_for_selection():
    lost = check("int8", after=0.8)
    assert rejection("int8", 0.0, lost, device()) is None
    with pytest.raises(EquivalenceError, match=r"accuracy goes from 0\.9000 to 0\.8000"):
        lost.require()


def test_validation_accuracy_decides_between_equally_fast_files_of_one_precision():
    rows = [
        candidate("float32", val=0.9, ms=0.2),
        candidate("int8-minmax", val=0.894, ms=0.100),
        candidate("int8-entropy", val=0.899, ms=0.102),
    ]
    chosen, reason = choose(rows, "box", device(), ("float32", "int8"), "", same_speed=0.03)
    assert chosen.name == "int8-entropy"
    assert "not significantly slower than the fastest" in reason
    chosen, reason = choose(rows, "box", device(), ("float32", "int8"), "", same_speed=0.01)
    assert chosen.name == "int8-minmax"


def test_latencies_within_the_measurement_noise_count_as_equal():
    rows = [candidate("float32", ms=0.2), candidate("int8-minmax", val=0.899, ms=0.106)]
    for measured, chosen in (
        ({"spread": 0.1}, "int8-minmax"),
        ({"spread": 0.01}, "int8-entropy"),
        ({"spread": 0.01, "interval": (0.09, 0.11)}, "int8-minmax"),  # wider than the spread
    ):
        third = candidate("int8-entropy", val=0.894, ms=0.1, **measured)
        assert choose([*rows, third], "box", device(), ("float32", "int8"), "")[0].name == chosen


def test_the_method_of_a_fixed_precision_keeps_the_accuracy_before_it_is_fast():
    rows = [
        candidate("float32", ms=0.05),
        candidate("int8-minmax", val=0.5, ms=0.1),
        candidate("int8-entropy", val=0.895, ms=0.2),
    ]
    fixed = device(precision="int8")
    assert choose(rows, "box", fixed, ("float32", "int8"), "")[0] is rows[2]
    unmeasured, reason = choose(rows, "box", fixed, ("float32", "int8"), "it is offline.")
    assert unmeasured is rows[2]
    assert "it is offline" in reason


def test_a_fixed_precision_over_the_budget_delivers_its_most_accurate_variant():
    rows = [candidate("float32"), candidate("int8-minmax", 0.5), candidate("int8-entropy", 0.6)]
    chosen, reason = choose(rows, "box", device(precision="int8"), ("float32", "int8"), "away.")
    assert chosen is rows[2]
    assert "smallest loss of validation accuracy" in reason
    assert "int8-entropy loses 0.3000" in reason


def test_an_unmeasured_default_precision_uses_its_most_accurate_method():
    rows = [candidate("float32"), candidate("int8-minmax", 0.895), candidate("int8-entropy", 0.899)]
    chosen, _ = choose(rows, "box", device(), ("int8", "float16"), "it is emulated.")
    assert chosen.name == "int8-entropy"
