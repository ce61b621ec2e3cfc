"""Ranges by several methods, and mixed-precision files."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from devices.quantize.calibration import METHODS
from devices.quantize.static import Calibrated, calibrate, quantize


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_t(3, size=(1, 1, 8, 8)).astype(np.float32) for _ in range(count)]


@pytest.fixture(scope="module")
def calibrated(small: Path) -> Calibrated:
    return calibrate(small, images(40), "uint8", METHODS, 99.9)


def test_methods_read_different_ranges_from_the_same_images(calibrated: Calibrated) -> None:
    widths = {
        method: {name: high - low for name, (low, high) in calibrated.ranges[method].items()}
        for method in METHODS
    }
    names = widths["minmax"].keys()
    for method in ("percentile", "entropy"):
        assert widths[method].keys() == names
        assert any(widths[method][name] < 0.95 * widths["minmax"][name] for name in names)
    assert widths["percentile"] != widths["entropy"]
    assert len({quantize(calibrated, method) for method in METHODS}) == 3


def test_no_range_is_wider_than_what_was_seen(calibrated: Calibrated) -> None:
    for method in METHODS:
        for name, (low, high) in calibrated.ranges[method].items():
            smallest, largest = calibrated.ranges["minmax"][name]
            assert smallest <= low <= high <= largest


def test_minmax_is_the_smallest_and_the_largest_value_of_the_images(
    calibrated: Calibrated,
) -> None:
    seen = np.concatenate(images(40))
    assert calibrated.ranges["minmax"]["images"] == (seen.min(), seen.max())
    low, high = calibrated.ranges["percentile"]["images"]
    assert 0.998 < ((seen >= low) & (seen <= high)).mean() < 1  # +- one bin


def test_equal_images_give_equal_bytes_by_every_method(calibrated: Calibrated, small: Path) -> None:
    again = calibrate(small, iter(images(40)), "uint8", METHODS, 99.9)
    for method in METHODS:
        assert quantize(again, method) == quantize(calibrated, method)


def test_a_wider_percentile_clips_less(calibrated: Calibrated, small: Path) -> None:
    wide = calibrate(small, images(40), "uint8", ["percentile"], 100.0)
    for name, (low, high) in wide.ranges["percentile"].items():
        narrow = calibrated.ranges["percentile"][name]
        assert high - low >= narrow[1] - narrow[0]


def test_layers_keep_their_float_weights_when_told(calibrated: Calibrated) -> None:
    first, middle, last = calibrated.layers
    whole, mixed = quantize(calibrated, "minmax"), quantize(calibrated, "minmax", [middle])
    assert float_layers(whole) == []
    assert float_layers(mixed) == [middle]
    assert float_layers(quantize(calibrated, "minmax", only=[first])) == [middle, last]


@pytest.mark.parametrize("family", ["int8", "int8_asymmetric", "weights_only"])
def test_every_family_can_keep_layers_in_float(small: Path, family: str) -> None:
    ready = calibrate(small, images(4), family, ["minmax"])
    (method,) = ready.ranges
    assert method == ("weights_only" if family == "weights_only" else "minmax")
    for name in ready.layers:
        assert float_layers(quantize(ready, method, [name])) == [name]
        assert float_layers(quantize(ready, method, only=[name])) == [
            other for other in ready.layers if other != name
        ]


def float_layers(content: bytes) -> list[str]:
    """Layers whose weights are not quantised."""
    graph = onnx.load_from_string(content).graph
    dequantised = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    return [node.name for node in layers if node.input[1] not in dequantised]
