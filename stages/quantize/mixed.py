"""Mixed precision: int8 with the most sensitive layers in float, as few as keep the accuracy.

A layer's sensitivity is what it does to the output when it ALONE is int8: the mean
Kullback-Leibler divergence, in nats per image, between the float network's answers and those. So
each layer is seen without the others' rounding, which would hide it the other way round, with the
layer alone in float. Labels take no part, and the images are the calibration images.

How many layers stay in float is found by bisection over that order, on validation accuracy. That
accuracy need not rise with every layer, so another number might do as well; the number found was
tried, and keeps the budget.
Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from devices.backends.onnxruntime import open_reference
from devices.quantization import Calibrated, QuantizationMethod, quantize
from stages.common.files import rounded, write_bytes
from stages.common.inference import Images, Logits
from stages.common.progress import Progress
from stages.quantize.candidate import MIXED, Candidate, Form
from stages.quantize.evaluate import judge_onnx
from stages.quantize.forms import Work


@dataclass(frozen=True)
class Mixed:
    """The mixed form, and how it was found.

    Attributes:
        form: the file; its layers in float keep the budget if `kept`, or are as many as allowed.
        sensitivity: nats per image by layer, the most sensitive first.
        tried: number of layers in float, and validation accuracy, in the order of trial.
        kept: whether the budget holds.
    """

    form: Form
    sensitivity: dict[str, float]
    tried: tuple[tuple[int, float], ...]
    kept: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values for `quantize.json`."""
        return {
            "sensitivity": [
                {"layer": name, "nats": float(f"{value:.6g}")}
                for name, value in self.sensitivity.items()
            ],
            "tried": [
                {"in_float": count, "val_accuracy": rounded(share)} for count, share in self.tried
            ],
            "kept": self.kept,
        }


def mix(work: Work, base: Candidate, ready: Calibrated, least_accuracy: float) -> Mixed:
    """Write an int8 file that keeps an accuracy with as few layers in float as were found to do.

    Args:
        work: the stage's.
        base: the int8 candidate to start from, whose method it is.
        ready: the float network that candidate was made from.
        least_accuracy: top-1 on validation images that it must reach.
    """
    method = next(m for m in ready.methods if m == base.form.method)
    sensitivity = sensitivities(ready, method, work.calibration_images())
    order, tried = list(sensitivity), dict[int, float]()
    most = max(1, int(work.params.max_float_share * len(order)))
    name = base.form.name.removesuffix(method) + MIXED

    def form(count: int) -> Form:
        source, in_float = base.form.source, tuple(order[:count])
        return Form(name, "int8", MIXED, source, method, in_float)

    def keeps(count: int) -> bool:
        write_bytes(work.path(form(count)), quantize(ready, method, order[:count]))
        tried[count] = judge_onnx(work.path(form(count)), work.splits["val"], work.info).accuracy
        return tried[count] >= least_accuracy

    count = fewest(most, keeps)
    found = form(most if count is None else count)
    write_bytes(work.path(found), quantize(ready, method, found.in_float))
    return Mixed(found, sensitivity, tuple(tried.items()), count is not None)


def fewest(most: int, keeps: Callable[[int], bool]) -> int | None:
    """A small number, from 1 to `most`, that keeps; None if `most` does not.

    Args:
        most: the largest number.
        keeps: whether a number does; asked about log2(most) + 1 times.
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


def sensitivities(
    ready: Calibrated, method: QuantizationMethod, images: Sequence[Images]
) -> dict[str, float]:
    """Nats per image by layer, the most sensitive first; equal ones in the network's order."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="netwright-") as name:
        model = Path(name) / "model.onnx"
        model.write_bytes(ready.model)
        expected_NK = _logits(model, images)
        with Progress("sensitivity of layers", len(ready.layers)) as progress:
            for number, layer in enumerate(ready.layers):
                model.write_bytes(quantize(ready, method, only=[layer]))
                found[layer] = divergence(expected_NK, _logits(model, images))
                progress.update(number + 1)
    return dict(sorted(found.items(), key=lambda row: -row[1]))


def divergence(expected_NK: Logits, found_NK: Logits) -> float:
    """Mean over images of KL(softmax of the expected || softmax of the found logits), in nats."""
    from scipy.special import log_softmax

    log_p_NK, log_q_NK = (
        log_softmax(logits_NK.astype(np.float64), axis=1) for logits_NK in (expected_NK, found_NK)
    )
    return float((np.exp(log_p_NK) * (log_p_NK - log_q_NK)).sum(1).mean())


def _logits(model: Path, images: Sequence[Images]) -> Logits:
    with open_reference(model) as session:
        return np.concatenate([session(image_1CHW) for image_1CHW in images])
