"""The table of the int8 benchmark."""

from benchmarks.quantize.__main__ import cells, lost, report
from benchmarks.quantize.variants import Row


def row(variant: str, accuracy: float | None, runtime: str = "openvino", **given: object) -> Row:
    return Row("net", runtime, variant, accuracy, **given)  # type: ignore[arg-type]


def test_losses_are_differences_on_the_same_runtime() -> None:
    rows = [
        row("float32", 0.9),
        row("int8 minmax", 0.8),
        row("float32", 0.91, "litert"),
        row("int8 minmax", 0.92, "litert"),
    ]
    assert lost("net", rows) == "- net loses of top-1 in int8: -0.0100 to +0.1000."


def test_what_was_not_measured_is_a_dash_and_what_cannot_run_says_why() -> None:
    assert cells(row("float32", 0.9, size=2000)) == (
        *("net", "openvino", "float32", "0.9000", "-", "2", "-", "-"),
    )
    text = report([row("float32", 0.9), row("int8 minmax", None, why_not="no such operator")])
    assert "| net | openvino | int8 minmax | - | - | - | - | - |" in text
    assert "- net, openvino, int8 minmax: no such operator" in text
    assert "loses" not in text
