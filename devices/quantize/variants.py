"""Build and evaluate the network's variants.

Axes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.files import write_bytes
from core.progress import Progress
from data.dataset import DatasetInfo, Split
from devices.device import WeightBits
from devices.measure.inference import Images, Logits
from devices.quantize.candidate import FLOAT32, NO_METHOD, Candidate, Variant
from devices.quantize.evaluate import calibration_images, evaluate_onnx
from devices.quantize.settings import QuantizeParams
from devices.quantize.static import Calibrated, calibrate, methods_of, quantize, to_float16
from devices.runtimes.base import Backend
from models.nets.equivalence import compare, onnx_name

_AT_ONCE = 2


@dataclass(frozen=True)
class Work:
    """Shared inputs of all steps of the stage.

    Attributes:
        folder: output folder of the variants' files.
        runtime: the device's backend, which determines the int8 quantisation scheme.
        splits: data splits by name.
        info: the data set.
        params: params of the stage.
        weight_bits: bit width of int8 weights; see `Backend.weight_bits`.
        logits: test-split logits of every variant evaluated so far; the key None is the trained
            network.
    """

    folder: Path
    runtime: Backend
    splits: Mapping[str, Split]
    info: DatasetInfo
    params: QuantizeParams
    weight_bits: WeightBits
    logits: dict[str | None, Logits] = field(default_factory=dict)

    def path(self, variant: Variant) -> Path:
        """Return the path of a variant's file."""
        return self.folder / variant.file

    def calibration_images(self) -> list[Images]:
        """Return the random training images, always the same, each (1, C, H, W)."""
        rng = np.random.default_rng(self.params.seed)
        count = self.params.calibration_images
        return list(calibration_images(self.splits["train"], self.info, count, rng))


def build_float16(work: Work, source: Variant) -> list[Variant]:
    """Build the float16 variant of a float32 one, if the runtime supports it."""
    if "float16" not in work.runtime.native_precisions:
        return []
    variant = Variant("float16", "float16", NO_METHOD, source.name)
    to_float16(work.path(source), work.path(variant))
    return [variant]


def calibrate_variant(work: Work, source: Variant) -> Calibrated | None:
    """Calibrate a float32 variant for quantisation; None if the runtime has no int8."""
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


def build_int8(work: Work, source: Variant, calibrated: Calibrated) -> list[Variant]:
    """Build the int8 variants of a float32 one, one per calibration method."""
    suffix = source.name.removeprefix(FLOAT32)  # keeps names of different sources distinct
    variants = []
    for method in methods_of(calibrated.activations, work.params.methods):
        variant = Variant(f"int8{suffix}-{method}", "int8", method, source.name)
        write_bytes(work.path(variant), quantize(calibrated, method))
        variants.append(variant)
    return variants


def evaluate(work: Work, variants: Sequence[Variant]) -> list[Candidate]:
    """Compute accuracy and equivalence of variants; their sources must be evaluated before.

    The float32 file is compared with the trained network, each lower precision with that file.
    """
    found = []
    # Each uses one thread, so that floating-point sums do not depend on the machine.
    with (
        Progress("evaluate variants", len(variants)) as progress,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        for number, candidate in enumerate(pool.map(lambda v: _evaluate(work, v), variants)):
            found.append(candidate)
            progress.update(number + 1, {"accuracy": candidate.accuracy})
    return found


def _evaluate(work: Work, variant: Variant) -> Candidate:
    model = work.path(variant)
    test, val = (evaluate_onnx(model, work.splits[name], work.info) for name in ("test", "val"))
    expected_NK = work.logits[variant.source]
    check = compare(
        "subnet" if variant.source is None else onnx_name(variant.source),
        onnx_name(variant.name),
        expected_NK,
        test.logits_NK,
        np.asarray(work.splits["test"].labels_N),
        work.params.limits.of(variant.precision, expected_NK),
    )
    assert check.agreement is not None  # `compare` measures it
    work.logits[variant.name] = test.logits_NK
    return Candidate(
        variant=variant,
        accuracy=test.accuracy,
        val_accuracy=val.accuracy,
        agreement=1.0 if variant.source is None else check.agreement,
        latency_ms=None,
        spread=None,
        size_bytes=model.stat().st_size,
        check=check,
    )
