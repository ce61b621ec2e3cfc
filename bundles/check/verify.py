"""Verify a bundle and predict with it, from its archive alone. Axes: N images, K classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bundles.check.consistency import find_contradictions
from bundles.check.latency import measure_latency
from bundles.errors import BundleError
from bundles.gate import check_limits
from bundles.golden import (
    GOLDEN,
    Golden,
    Preprocess,
    difference_of,
    read_golden,
    read_labels,
    read_preprocess,
)
from bundles.manifest import Manifest, read_manifest
from bundles.read import Bundle, Limits, check_hashes, read_archive, read_bundle
from bundles.signature import Trust
from data.images import load_image
from devices.device import DeviceError
from devices.measure.fingerprint import machine_state
from devices.measure.interleaved import MeasurementError
from devices.measure.target import Target
from devices.runtimes.registry import backend, device_backend
from devices.runtimes.session import Session
from models.nets.equivalence import EquivalenceError, require_checks

FindTarget = Callable[[Manifest], Target | None]

PORTABLE = "onnxruntime"
"""Backend of the portable file, used if the bundle's runtime is not available."""

INPUT_TOLERANCE = 1e-4
"""Largest difference of a normalised input: only rounding may differ."""


@dataclass(frozen=True)
class Check:
    """One check, its result, and a sentence."""

    name: str
    passed: bool
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"name": self.name, "passed": self.passed, "detail": self.detail}


@dataclass(frozen=True)
class Verification:
    """Results of all checks in the order they ran; a refused archive ends the list."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for `netwright verify --json`."""
        return {"passed": self.passed, "checks": [check.to_json() for check in self.checks]}


def verify(
    bundle: Path,
    find_target: FindTarget | None = None,
    trust: Trust | None = None,
    latency: bool = False,
) -> Verification:
    """Check an untrusted archive: format, manifest, hashes, golden outputs, limits.

    An invalid bundle is a result, not an exception.

    Args:
        bundle: the archive.
        find_target: returns the execution target of a manifest, if not this machine. It must use
            only the caller's settings, because the archive is untrusted.
        trust: signature settings; None: signatures are not checked.
        latency: also measure the delivered file, and check it against the device's budget.

    Raises:
        UserError: signatures cannot be checked with this key on this machine.
    """
    if trust is not None:
        trust.check_key()
    done: list[Check] = []

    def step(name: str, check: Callable[[], tuple[str, Any]]) -> Any:
        try:
            detail, value = check()
        except (BundleError, DeviceError, MeasurementError) as error:
            done.append(Check(name, False, str(error)))
            return None
        done.append(Check(name, True, detail))
        return value

    # Before the archive is parsed.
    if trust is not None and step("signature", lambda: (trust.check(bundle), True)) is None:
        return Verification(tuple(done))
    archive = step("archive", lambda: _archive(bundle))
    if archive is None:
        return Verification(tuple(done))
    files, _ = archive
    manifest = step("manifest", lambda: _manifest(bundle, files))
    if manifest is None:
        return Verification(tuple(done))
    if step("hashes", lambda: _hashes(bundle, files, manifest)) is None:
        return Verification(tuple(done))
    whole = Bundle(manifest, *archive)
    # No model is loaded from an inconsistent bundle.
    if step("consistency", lambda: _consistency(bundle, whole)) is None:
        return Verification(tuple(done))
    step("hops", lambda: _equivalence(bundle, manifest))
    step("golden", lambda: _golden(bundle, whole, find_target))
    step("processor", lambda: (_processor(manifest, find_target), True))
    done.append(_limits(whole))
    if latency:
        step("latency", lambda: _latency(bundle, whole, find_target))
    return Verification(tuple(done))


def predict(bundle: Path, images: Sequence[Path]) -> list[tuple[str, float]]:
    """Classify image files with a bundle's delivered network.

    Args:
        bundle: the archive.
        images: image files of any size and mode.

    Returns:
        Per image the most probable label and its probability.

    Raises:
        BundleError: the bundle is invalid, or cannot run on this machine.
        ValueError: an image cannot be read.
    """
    content = read_bundle(bundle)
    labels = read_labels(bundle, content.files)
    how = read_preprocess(bundle, content.files)
    # All images are read first, so that an invalid one fails early.
    shape = how.image_shape
    inputs = [how(load_image(path, shape, how.fit, how.bits)[np.newaxis]) for path in images]
    with _session(content, (1, *shape)) as (session, _):
        rows = [_logits(bundle, session, input_1CHW, len(labels)) for input_1CHW in inputs]
    return [_most_probable(logits_1K[0], labels) for logits_1K in rows]


def _archive(path: Path) -> tuple[str, Any]:
    files, size = read_archive(path, Limits())
    return f"{len(files)} files in {size:,} bytes, byte-identical", (files, size)


def _manifest(path: Path, files: dict[str, bytes]) -> tuple[str, Any]:
    manifest = read_manifest(path, files)
    found = f"device '{manifest.name}', {manifest.precision}, architecture"
    return f"{found} {manifest.architecture_id}", manifest


def _hashes(path: Path, files: dict[str, bytes], manifest: Any) -> tuple[str, Any]:
    check_hashes(path, files, manifest)
    return f"all {len(manifest.files)} files have the SHA-256 of the manifest", True


def _consistency(path: Path, bundle: Bundle) -> tuple[str, Any]:
    found = find_contradictions(path, bundle.manifest, bundle.files)
    if found:
        raise BundleError(f"{path} is inconsistent: {'; '.join(found)}.")
    return "redundant fields agree", True


def _equivalence(path: Path, manifest: Manifest) -> tuple[str, Any]:
    try:
        require_checks(manifest.checks)
    except EquivalenceError as error:
        raise BundleError(f"{path}: {error}") from error
    passed = [check for check in manifest.checks if check.passed]
    unknown = "".join(
        f"; {check.source} to {check.target} was not measured"
        for check in manifest.checks
        if not check.passed
    )
    return f"{len(passed)} equivalence checks from supernet to device passed{unknown}", True


def _golden(path: Path, bundle: Bundle, find_target: FindTarget | None) -> tuple[str, Any]:
    how: Preprocess = read_preprocess(path, bundle.files)
    labels = read_labels(path, bundle.files)
    count = bundle.manifest.golden.images
    golden = read_golden(path, bundle.files, count, how.image_shape, len(labels))
    _check_golden(path, golden, bundle.manifest.golden.tolerance, len(labels))
    off = float(np.abs(how(golden.images_NHWC) - golden.inputs_NCHW).max())
    if not off <= INPUT_TOLERANCE:
        raise BundleError(f"{path}: preprocessing does not reproduce the golden inputs ({off:g}).")
    target = None if find_target is None else find_target(bundle.manifest)
    images = [row[np.newaxis] for row in golden.inputs_NCHW]
    if target is not None:
        outputs_NK, runtime = _run_on_target(bundle, target, images), target.runtime
    else:
        with _session(bundle, (1, *how.image_shape)) as (session, runtime):
            rows = [_logits(path, session, image_1CHW, len(labels)) for image_1CHW in images]
        outputs_NK = np.concatenate(rows)
    if outputs_NK.shape != golden.outputs_NK.shape:
        raise BundleError(f"{path}: {runtime} returns outputs of shape {outputs_NK.shape}.")
    difference = difference_of(path, outputs_NK, golden, runtime)
    return (
        f"{count} outputs within {golden.tolerance:.4g} (largest difference {difference:.4g}) "
        f"with {runtime}"
    ), True


def _processor(manifest: Manifest, find_target: FindTarget | None) -> str:
    """Compare the processor with the one of the measurements; informational only.

    Raises:
        DeviceError: the device's agent cannot be used.
    """
    then, device = manifest.model.measured_on, manifest.device
    target = None if find_target is None else find_target(manifest)
    if target is None:
        now = machine_state(device.backend, device.threads, device.openvino_device)
    else:
        now = target.machine()
    name, known = now.get("processor"), now.get("features")
    here = f"{name} ({', '.join(known) if known else 'features unknown'})"
    if then is None:
        return f"this is {here}; the processor of the measurements was not recorded"
    if (then.system, [*(then.features or ())]) == (now.get("system"), [*(known or ())]):
        return f"{here} has the features of the processor of the measurements"
    features = ", ".join(then.features) if then.features else "features unknown"
    text = f"measured on {then.processor} ({features}); this is {here}, so latencies differ"
    saturating = device_backend(device).weight_bits(now) == 7
    if manifest.precision == "int8" and saturating and manifest.model.weight_bits != 7:
        text += (
            "; its int8 kernels saturate with 8-bit weights, so predictions differ too: "
            "build the bundle on this kind of processor"
        )
    return text


def _latency(path: Path, bundle: Bundle, find_target: FindTarget | None) -> tuple[str, Any]:
    target = None if find_target is None else find_target(bundle.manifest)
    return measure_latency(path, bundle, target)


def _check_golden(path: Path, golden: Golden, tolerance: float, classes: int) -> None:
    """Check the golden arrays against the manifest, and that their tolerance is meaningful."""
    if golden.tolerance != tolerance:
        raise BundleError(f"{path}: {GOLDEN} and manifest have different tolerances.")
    if not 0 < golden.tolerance < float(np.abs(golden.outputs_NK).max()):
        raise BundleError(
            f"{path}: the tolerance {golden.tolerance:.4g} is not between 0 and the largest golden "
            "output."
        )
    if not np.isin(golden.labels_N, np.arange(classes)).all():
        raise BundleError(f"{path}: {GOLDEN} has labels outside the classes.")


def _run_on_target(
    bundle: Bundle, target: Target, images: Sequence[npt.NDArray[np.float32]]
) -> npt.NDArray[np.float32]:
    manifest = bundle.manifest
    with bundle.unpacked() as folder:
        return target.outputs(folder / manifest.model.entry, images, manifest.device.threads)


def _limits(bundle: Bundle) -> Check:
    verdict = check_limits(bundle.manifest, bundle.size_bytes)
    return Check("limits", verdict.passed, "; ".join((*verdict.reasons, *verdict.kept)))


@contextmanager
def _session(bundle: Bundle, shape: tuple[int, ...]) -> Iterator[tuple[Session, str]]:
    """Open the delivered file, or the portable file if its runtime is not available."""
    manifest = bundle.manifest
    runtime = device_backend(manifest.device)
    entry = manifest.model.entry
    why_not_run = runtime.why_not_run(manifest.device)
    label = f"{runtime.runtime} {runtime.version()}"
    if why_not_run:
        runtime, entry = backend(PORTABLE), manifest.model.portable
        found = runtime.capabilities()
        if not found.can_run:
            raise BundleError(f"the bundle cannot run here. {why_not_run} {found.reason}")
        label = f"{runtime.runtime} {runtime.version()} on {entry} ({why_not_run})"
    with (
        bundle.unpacked() as folder,
        runtime.open(folder / entry, manifest.device.threads) as opened,
    ):
        if tuple(opened.input_shape) != shape:
            raise BundleError(f"{entry} has input shape {opened.input_shape}, not {shape}.")
        yield opened, label


def _logits(
    path: Path, session: Session, input_1CHW: npt.NDArray[np.float32], classes: int
) -> npt.NDArray[np.float32]:
    logits_1K = session(input_1CHW)
    if logits_1K.shape != (1, classes):
        raise BundleError(f"{path}: the output shape is {logits_1K.shape}, not {(1, classes)}.")
    return logits_1K


def _most_probable(logits_K: npt.NDArray[np.float32], labels: tuple[str, ...]) -> tuple[str, float]:
    weights_K = np.exp(logits_K.astype(np.float64) - logits_K.max())
    best = int(logits_K.argmax())
    return labels[best], float(weights_K[best] / weights_K.sum())


__all__ = ["BundleError", "Check", "Verification", "predict", "verify"]
