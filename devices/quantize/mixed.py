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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.files import write_bytes
from core.progress import Progress
from devices.measure.inference import Images, Logits
from devices.quantize.candidate import MIXED, Candidate, Variant
from devices.quantize.evaluate import evaluate_onnx
from devices.quantize.result import FloatLayers, MixedResult, Sensitivity
from devices.quantize.static import Calibrated, QuantizationMethod, quantize
from devices.quantize.variants import Work
from devices.runtimes.onnxruntime.backend import open_reference


@dataclass(frozen=True)
class Mixed:
    """The mixed variant and the search for it.

    Attributes:
        variant: meets the budget if `kept`, else has the largest allowed number of float layers.
        sensitivity: nats per image by layer, the most sensitive first.
        tried: number of float layers and validation accuracy, in order of evaluation.
        kept: whether the accuracy budget is met.
    """

    variant: Variant
    sensitivity: dict[str, float]
    tried: tuple[tuple[int, float], ...]
    kept: bool

    def result(self) -> MixedResult:
        """Return its entry in `quantize.json`."""
        return MixedResult(
            sensitivity=tuple(
                Sensitivity(layer=name, nats=float(f"{value:.6g}"))
                for name, value in self.sensitivity.items()
            ),
            tried=tuple(
                FloatLayers(in_float=count, val_accuracy=round(share, 6))
                for count, share in self.tried
            ),
            kept=self.kept,
        )


def build_mixed(work: Work, base: Candidate, calibrated: Calibrated, min_accuracy: float) -> Mixed:
    """Build an int8 file that reaches an accuracy with few layers in float.

    Args:
        work: shared inputs of the stage.
        base: the int8 candidate whose calibration method is used.
        calibrated: the calibrated float network of that candidate.
        min_accuracy: required top-1 on validation images.
    """
    method = next(m for m in calibrated.methods if m == base.variant.method)
    sensitivity = compute_sensitivities(calibrated, method, work.calibration_images())
    order, tried = list(sensitivity), dict[int, float]()
    most = max(1, int(work.params.max_float_share * len(order)))
    name = base.variant.name.removesuffix(method) + MIXED

    def variant(count: int) -> Variant:
        source, in_float = base.variant.source, tuple(order[:count])
        return Variant(name, "int8", MIXED, source, method, in_float)

    def keeps(count: int) -> bool:
        file = work.path(variant(count))
        write_bytes(file, quantize(calibrated, method, order[:count]))
        tried[count] = evaluate_onnx(file, work.splits["val"], work.info).accuracy
        return tried[count] >= min_accuracy

    count = find_fewest(most, keeps)
    found = variant(most if count is None else count)
    write_bytes(work.path(found), quantize(calibrated, method, found.in_float))
    return Mixed(found, sensitivity, tuple(tried.items()), count is not None)


def find_fewest(most: int, keeps: Callable[[int], bool]) -> int | None:
    """Find a small number from 1 to `most` that meets the budget; None if `most` does not.

    Args:
        most: the largest number.
        keeps: whether a number meets the budget; called about log2(most) + 1 times.
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
