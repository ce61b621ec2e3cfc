"""Mixed precision: int8 with as few of the most sensitive layers in float as the budget needs.

A layer's sensitivity is the effect on the output when it ALONE is int8: the mean
Kullback-Leibler divergence, in nats per image, from the float network's predictions. This isolates
each layer; with one layer in float and all others in int8, their rounding would mask it.
Labels are not used, and the images are the calibration images.

The number of float layers is found by bisection over that order, on validation accuracy. That
accuracy need not be monotonic, so a smaller number may exist; the number found was evaluated and
meets the budget.
Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from core.files import write_bytes
from core.progress import Progress
from devices.measure.inference import Images, Logits, accuracy, reference_logits
from devices.quantize.result import (
    MIXED,
    Candidate,
    FloatLayers,
    MixedResult,
    Sensitivity,
    Variant,
)
from devices.quantize.static import Calibrated, QuantizationMethod, quantize
from devices.quantize.variants import Work
from devices.runtimes.onnxruntime.backend import open_reference


def build_mixed(
    work: Work, base: Candidate, calibrated: Calibrated, min_accuracy: float
) -> tuple[Variant, MixedResult]:
    """Build an int8 file that reaches a validation accuracy with few layers in float.

    `base` is the int8 candidate whose calibration method is used. If no variant reaches the
    accuracy, the one with the largest allowed number of float layers is returned.
    """
    method = next(m for m in calibrated.ranges if m == base.method)
    sensitivity = compute_sensitivities(calibrated, method, work.calibration_images())
    order, tried = list(sensitivity), dict[int, float]()
    most = max(1, int(work.params.max_float_share * len(order)))
    val = work.splits["val"]

    def build(count: int) -> Variant:
        variant = Variant(
            name=base.name.removesuffix(method) + MIXED,
            precision="int8",
            method=MIXED,
            source=base.source,
            base_method=method,
            in_float=tuple(order[:count]),
        )
        write_bytes(work.path(variant), quantize(calibrated, method, variant.in_float))
        return variant

    def keeps(count: int) -> bool:
        logits_NK = reference_logits(work.path(build(count)), val, work.info)
        tried[count] = accuracy(logits_NK, val)
        return tried[count] >= min_accuracy

    count = find_fewest(most, keeps)
    result = MixedResult(
        sensitivity=tuple(
            Sensitivity(layer=name, nats=float(f"{value:.6g}"))
            for name, value in sensitivity.items()
        ),
        tried=tuple(FloatLayers(in_float=n, val_accuracy=share) for n, share in tried.items()),
        kept=count is not None,
    )
    return build(most if count is None else count), result


def find_fewest(most: int, keeps: Callable[[int], bool]) -> int | None:
    """Find a small number from 1 to `most` that keeps the accuracy; None if `most` does not.

    `keeps` is called about log2(most) + 1 times.
    """
    with Progress("layers in float", most.bit_length() + 1) as progress:
        if not keeps(most):
            return None
        low, high = 0, most  # `high` keeps
        for step in range(most.bit_length()):
            progress.update(step + 1, {"layers": high})
            if high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if keeps(middle) else (middle, high)
    return high


def compute_sensitivities(
    calibrated: Calibrated, method: QuantizationMethod, images: Sequence[Images]
) -> dict[str, float]:
    """Compute nats per image by layer, sorted descending; ties keep the network's order."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="netwright-") as name:
        model = Path(name) / "model.onnx"
        model.write_bytes(calibrated.model)
        expected_NK = _logits(model, images)
        with Progress("sensitivity of layers", len(calibrated.layers)) as progress:
            for number, layer in enumerate(calibrated.layers):
                model.write_bytes(quantize(calibrated, method, only=[layer]))
                found[layer] = divergence(expected_NK, _logits(model, images))
                progress.update(number + 1)
    return dict(sorted(found.items(), key=lambda row: -row[1]))


def divergence(expected_NK: Logits, found_NK: Logits) -> float:
    """Return the mean over images of KL(softmax(expected) || softmax(found)), in nats."""
    from scipy.special import log_softmax

    log_p_NK, log_q_NK = (
        log_softmax(logits_NK.astype(np.float64), axis=1) for logits_NK in (expected_NK, found_NK)
    )
    return float((np.exp(log_p_NK) * (log_p_NK - log_q_NK)).sum(1).mean())


def _logits(model: Path, images: Sequence[Images]) -> Logits:
    with open_reference(model) as session:
        return np.concatenate([session(image_1CHW) for image_1CHW in images])
