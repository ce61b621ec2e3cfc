"""Verify a bundle, from its archive alone. Axes: N images, C, H, W of the image, K classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bundles.archive import Archive, BundleError, read_archive
from bundles.check.consistency import find_contradictions
from bundles.check.latency import measure_latency
from bundles.check.run import run_here
from bundles.gate import check_limits
from bundles.golden import difference_of, read_golden
from bundles.manifest import Manifest, read_manifest
from bundles.read import Bundle, check_hashes
from bundles.signature import Trust, check_public_key
from devices.device import DeviceError
from devices.measure.interleaved import MeasurementError
from devices.measure.target import LocalTarget, Target
from devices.runtimes.registry import device_backend
from models.nets.equivalence import EquivalenceError, require_checks

FindTarget = Callable[[Manifest], Target | None]


@dataclass(frozen=True)
class Check:
    """One check, its result, and a sentence."""

    name: str
    passed: bool
    detail: str


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
        return {"passed": self.passed, "checks": [asdict(check) for check in self.checks]}


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
        find_target: returns the target of a manifest, if not this machine. It must use
            only the caller's settings, because the archive is untrusted.
        trust: signature settings; None: signatures are not checked.
        latency: also measure the delivered file, and check it against the device's budget.

    Raises:
        UserError: signatures cannot be checked with this key on this machine.
    """
    checks = _Checks(bundle, find_target)
    # The signature before anything is parsed, and consistency before a model is loaded.
    opening = {
        "archive": checks.archive_format,
        "manifest": checks.manifest_format,
        "hashes": checks.hashes,
        "consistency": checks.consistency,
    }
    if trust is not None:
        check_public_key(trust.public_key)
        opening = {"signature": lambda: trust.check(bundle), **opening}
    if all(checks.passes(name, check) for name, check in opening.items()):
        checks.passes("hops", checks.equivalence)
        checks.passes("golden", checks.golden)
        checks.passes("processor", checks.processor)
        checks.passes("limits", checks.limits)
        if latency:
            checks.passes("latency", lambda: measure_latency(checks.bundle, checks.target))
    return Verification(tuple(checks.done))


@dataclass(frozen=True)
class _Checks:
    """The checks of one archive: each returns a sentence, or raises BundleError."""

    path: Path
    find_target: FindTarget | None
    done: list[Check] = field(default_factory=list)

    def passes(self, name: str, check: Callable[[], str]) -> bool:
        """Run a check, record its result, and return whether it passed."""
        try:
            self.done.append(Check(name, True, check()))
        except (BundleError, DeviceError, MeasurementError) as error:
            self.done.append(Check(name, False, str(error)))
        return self.done[-1].passed

    @cached_property
    def archive(self) -> Archive:
        return read_archive(self.path)

    @cached_property
    def manifest(self) -> Manifest:
        return read_manifest(self.archive)

    @cached_property
    def bundle(self) -> Bundle:
        return check_hashes(self.archive, self.manifest)

    @cached_property
    def target(self) -> Target | None:
        return None if self.find_target is None else self.find_target(self.manifest)

    def archive_format(self) -> str:
        return (
            f"{len(self.archive.files)} files in {self.archive.size_bytes:,} bytes, byte-identical"
        )

    def manifest_format(self) -> str:
        found = self.manifest
        return f"device '{found.name}', {found.precision}, architecture {found.architecture_id}"

    def hashes(self) -> str:
        count = len(self.bundle.manifest.files)
        return f"all {count} files have the SHA-256 of the manifest"

    def consistency(self) -> str:
        if found := find_contradictions(self.bundle):
            raise BundleError(f"{self.path} is inconsistent: {'; '.join(found)}.")
        return "redundant fields agree"

    def equivalence(self) -> str:
        checks = self.manifest.checks
        try:
            require_checks(checks)
        except EquivalenceError as error:
            raise BundleError(f"{self.path}: {error}") from error
        unknown = [check for check in checks if not check.passed]
        notes = [f"; {check.source} to {check.target} was not measured" for check in unknown]
        return (
            f"{len(checks) - len(unknown)} equivalence checks from supernet to device passed"
            f"{''.join(notes)}"
        )

    def golden(self) -> str:
        golden = read_golden(self.bundle)
        images = [row[np.newaxis] for row in golden.inputs_NCHW]
        if self.target is None:
            outputs_NK, runtime = run_here(self.bundle, images)
        else:
            runtime, model = self.target.runtime, self.manifest.model
            with self.bundle.unpacked() as folder:
                threads = self.manifest.device.threads
                outputs_NK = self.target.outputs(folder / model.entry, images, threads)
        difference = difference_of(self.path, outputs_NK, golden, runtime)
        return (
            f"{len(images)} outputs within {golden.tolerance:.4g} (largest difference "
            f"{difference:.4g}) with {runtime}"
        )

    def processor(self) -> str:
        """Compare the processor with the one of the measurements; informational only."""
        then, device = self.manifest.model.measured_on, self.manifest.device
        now = (self.target or LocalTarget(self.manifest.name, device)).machine()
        name, known = now.get("processor"), now.get("features")
        here = f"{name} ({', '.join(known) if known else 'features unknown'})"
        if then is None:
            return f"this is {here}; the processor of the measurements was not recorded"
        if (then.system, [*(then.features or ())]) == (now.get("system"), [*(known or ())]):
            return f"{here} has the features of the processor of the measurements"
        features = ", ".join(then.features) if then.features else "features unknown"
        text = f"measured on {then.processor} ({features}); this is {here}, so latencies differ"
        saturating = device_backend(device).weight_bits(now) == 7
        weight_bits = self.manifest.model.weight_bits
        if self.manifest.precision == "int8" and saturating and weight_bits != 7:
            text += (
                "; its int8 kernels saturate with 8-bit weights, so predictions differ too: "
                "build the bundle on this kind of processor"
            )
        return text

    def limits(self) -> str:
        verdict = check_limits(self.manifest, self.archive.size_bytes)
        text = "; ".join((*verdict.reasons, *verdict.kept))
        if not verdict.passed:
            raise BundleError(text)
        return text
