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
from devices.measure.inference import Images, Logits, accuracy, reference_logits
from devices.measure.target import Target
from devices.quantize.calibration import calibration_images
from devices.quantize.result import FLOAT32, NO_METHOD, Candidate, Variant
from devices.quantize.selection import rejection
from devices.quantize.settings import QuantizeParams
from devices.quantize.static import Calibrated, calibrate, quantize, to_float16
from models.nets.equivalence import EquivalenceCheck, compare, onnx_name
from models.quality.metrics import balanced_accuracy, confusion_matrix, recalls

_AT_ONCE = 2


@dataclass(frozen=True)
class Work:
    """Shared inputs of all steps of the stage, and the results of evaluated variants.

    Attributes:
        folder: output folder of the variants' files.
        target: the device; its backend determines the int8 quantisation scheme.
        splits: data splits by name.
        info: the data set.
        params: params of the stage.
        weight_bits: bit width of int8 weights; see `Backend.weight_bits`.
        logits: on the test split, by variant; of the trained network by None.
        candidates: by variant, float32 first.
        checks: equivalence checks, by variant.
    """

    folder: Path
    target: Target
    splits: Mapping[str, Split]
    info: DatasetInfo
    params: QuantizeParams
    weight_bits: WeightBits
    logits: dict[str | None, Logits] = field(default_factory=dict)
    candidates: dict[str, Candidate] = field(default_factory=dict)
    checks: dict[str, EquivalenceCheck] = field(default_factory=dict)

    def path(self, variant: Variant) -> Path:
        """Return the path of a variant's file."""
        return self.folder / variant.file

    def calibration_images(self) -> list[Images]:
        """Return the random training images, always the same, each (1, C, H, W)."""
        rng = np.random.default_rng(self.params.seed)
        count = self.params.calibration_images
        return list(calibration_images(self.splits["train"], self.info, count, rng))

    def int8(self) -> list[Candidate]:
        """Return the evaluated int8 variants."""
        return [c for c in self.candidates.values() if c.precision == "int8"]


def build_float16(work: Work, source: Variant) -> list[Variant]:
    """Build the float16 variant of a float32 one, if the runtime supports it."""
    if "float16" not in work.target.backend.native_precisions:
        return []
    variant = Variant(name="float16", precision="float16", method=NO_METHOD, source=source.name)
    to_float16(work.path(source), work.path(variant))
    return [variant]


def calibrate_variant(work: Work, source: Variant) -> Calibrated | None:
    """Calibrate a float32 variant for quantisation; None if the runtime has no int8."""
    if "int8" not in work.target.backend.native_precisions:
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
            work.target.backend.activations,
            params.methods,
            params.percentile,
            work.weight_bits,
        )


def build_int8(work: Work, source: Variant, calibrated: Calibrated) -> list[Variant]:
    """Build the int8 variants of a float32 one, one per calibration method."""
    suffix = source.name.removeprefix(FLOAT32)  # keeps names of different sources distinct
    variants = []
    for method in calibrated.ranges:
        name = f"int8{suffix}-{method}"
        variant = Variant(name=name, precision="int8", method=method, source=source.name)
        write_bytes(work.path(variant), quantize(calibrated, method))
        variants.append(variant)
    return variants


def evaluate(work: Work, variants: Sequence[Variant]) -> None:
    """Add the variants to the candidates; their sources must be evaluated before.

    The float32 file is compared with the trained network, each lower precision with that file.
    """
    # Each uses one thread, so that floating-point sums do not depend on the machine.
    with (
        Progress("evaluate variants", len(variants)) as progress,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        found = pool.map(lambda variant: _evaluate(work, variant), variants)
        for number, (candidate, check) in enumerate(found):
            work.candidates[candidate.name] = candidate
            work.checks[candidate.name] = check
            progress.update(number + 1, {"accuracy": candidate.accuracy})


def _evaluate(work: Work, variant: Variant) -> tuple[Candidate, EquivalenceCheck]:
    """Evaluate a variant in ONNX Runtime, at batch 1, without Q/DQ fusion.

    This is the reference for all quantisation schemes, also if the delivered file's runtime is not
    available on this machine.
    """
    model, test, val = work.path(variant), work.splits["test"], work.splits["val"]
    found_NK, expected_NK = reference_logits(model, test, work.info), work.logits[variant.source]
    check = compare(
        "subnet" if variant.source is None else onnx_name(variant.source),
        onnx_name(variant.name),
        expected_NK,
        found_NK,
        np.asarray(test.labels_N),
        work.params.limits.of(variant.precision, expected_NK),
    )
    assert check.agreement is not None  # `compare` measures it
    work.logits[variant.name] = found_NK
    val_accuracy = accuracy(reference_logits(model, val, work.info), val)
    classes = len(work.info.classes)
    matrix_KK = confusion_matrix(np.asarray(test.labels_N), found_NK.argmax(1), classes)
    float32 = work.candidates.get(FLOAT32)
    lost = 0.0 if float32 is None else float32.val_accuracy - val_accuracy
    candidate = Candidate(
        **variant.model_dump(),
        accuracy=accuracy(found_NK, test),
        val_accuracy=val_accuracy,
        balanced_accuracy=balanced_accuracy(matrix_KK),
        min_class_recall=float(np.nanmin(recalls(matrix_KK))),
        agreement=1.0 if variant.source is None else check.agreement,
        size_bytes=model.stat().st_size,
        rejected=rejection(variant.name, lost, check, work.target.device),
    )
    return candidate, check
