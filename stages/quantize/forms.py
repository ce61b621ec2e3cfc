"""Building and judging the network's forms.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.dataset import DatasetInfo, Split
from devices.backends.base import Backend
from devices.quantization import (
    Calibrated,
    WeightBits,
    calibrate,
    methods_of,
    quantize,
    to_float16,
)
from stages.common.files import write_bytes
from stages.common.hops import Limits, compare, onnx_form, scaled
from stages.common.inference import Images, Logits
from stages.common.progress import Progress
from stages.quantize.candidate import FLOAT32, NO_METHOD, Candidate, Form
from stages.quantize.evaluate import calibration_images, judge_onnx
from stages.quantize.params import QuantizeParams

_AT_ONCE = 2


@dataclass(frozen=True)
class Work:
    """What every step of the stage needs.

    Attributes:
        folder: where the forms' files are.
        runtime: the device's backend, which decides on the family of int8 files.
        splits: the data's, by name.
        info: the data set.
        params: the stage's.
        weight_bits: of int8 files; see `Backend.weight_bits`.
        logits: of every form judged so far, on the test split; that of the trained network
            itself has the name None.
    """

    folder: Path
    runtime: Backend
    splits: Mapping[str, Split]
    info: DatasetInfo
    params: QuantizeParams
    weight_bits: WeightBits
    logits: dict[str | None, Logits] = field(default_factory=dict)

    def path(self, form: Form) -> Path:
        """A form's file."""
        return self.folder / form.file

    def calibration_images(self) -> list[Images]:
        """The same random training images for every purpose, each (1, C, H, W)."""
        rng = np.random.default_rng(self.params.seed)
        count = self.params.calibration_images
        return list(calibration_images(self.splits["train"], self.info, count, rng))


def halved(work: Work, source: Form) -> list[Form]:
    """The float16 form of a float32 one, where the runtime offers it."""
    if "float16" not in work.runtime.native_precisions:
        return []
    form = Form("float16", "float16", NO_METHOD, source.name)
    to_float16(work.path(source), work.path(form))
    return [form]


def calibrated(work: Work, source: Form) -> Calibrated | None:
    """A float32 form ready to be quantised; None where the runtime has no int8."""
    if "int8" not in work.runtime.native_precisions:
        return None
    images, params = work.calibration_images(), work.params
    with Progress("calibrate", len(images)) as progress:

        def counted() -> Iterator[Images]:
            for number, image_1CHW in enumerate(images):
                progress.update(number + 1)
                yield image_1CHW

        return calibrate(
            work.path(source),
            counted(),
            work.runtime.activations,
            params.methods,
            params.percentile,
            work.weight_bits,
        )


def quantised(work: Work, source: Form, ready: Calibrated) -> list[Form]:
    """The int8 forms of a float32 one, by every method that its family knows."""
    suffix = source.name.removeprefix(FLOAT32)  # so that forms of two sources have two names
    forms = []
    for method in methods_of(ready.activations, work.params.methods):
        form = Form(f"int8{suffix}-{method}", "int8", method, source.name)
        write_bytes(work.path(form), quantize(ready, method))
        forms.append(form)
    return forms


def judged(work: Work, forms: Sequence[Form]) -> list[Candidate]:
    """Accuracy and identity hop of forms; their sources must have been judged before.

    The trained network is compared with its float32 file, and that file with each lower one.
    """
    found = []
    # Each runs on one thread, so that its sums do not depend on the machine; two run at a time.
    with (
        Progress("judge forms", len(forms)) as progress,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        for number, candidate in enumerate(pool.map(lambda form: _judged(work, form), forms)):
            found.append(candidate)
            progress.update(number + 1, {"accuracy": candidate.accuracy})
    return found


def _judged(work: Work, form: Form) -> Candidate:
    model = work.path(form)
    test, val = (judge_onnx(model, work.splits[name], work.info) for name in ("test", "val"))
    expected_NK = work.logits[form.source]
    hop = compare(
        "subnet" if form.source is None else onnx_form(form.source),
        onnx_form(form.name),
        expected_NK,
        test.logits_NK,
        np.asarray(work.splits["test"].labels_N),
        hop_limits(work.params, form, expected_NK),
    )
    work.logits[form.name] = test.logits_NK
    return Candidate(
        form=form,
        accuracy=test.accuracy,
        val_accuracy=val.accuracy,
        agreement=1.0 if form.source is None else hop.agreement,
        latency_ms=None,
        spread=None,
        size_bytes=model.stat().st_size,
        hop=hop,
    )


def hop_limits(params: QuantizeParams, form: Form, expected_NK: Logits) -> Limits:
    """What a hop may cost: only rounding where the precision stays, more below it."""
    if form.source is None:
        return Limits(params.max_difference, params.float32_agreement, params.float32_accuracy_drop)
    largest = scaled(params.lower_difference, expected_NK)
    return Limits(largest, params.min_agreement, params.lower_accuracy_drop)
