"""Measure the latency of a bundle's delivered file and check it against the budget.

On the machine of the device's profile, latency is normalised to the profile's reference network,
which cancels changes of the machine's speed. On another one a budget in milliseconds is compared
with the raw latency, and a budget that is a share of the largest network's is not checked.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bundles.archive import MALFORMED, BundleError
from bundles.gate import check_limit
from bundles.manifest import Latency, Reference
from bundles.read import Bundle
from devices.measure.fingerprint import differences
from devices.measure.interleaved import Measurement, MeasurementError, Protocol, pool, replicate
from devices.measure.target import LocalTarget, Target
from models.space.architecture import Architecture

PROTOCOL = Protocol(blocks=9, calls=20)
"""Fixed, as `verify` has no params."""
_SEED = 0
_MOST_PARAMETERS, _MOST_FLOPS = 10**8, 10**11
"""Limits of a reference network, which is the smallest of a search space."""


def measure_latency(bundle: Bundle, target: Target | None = None) -> str:
    """Measure the delivered file on the target or this machine, and return a sentence.

    Raises:
        BundleError: latency is over the budget, or cannot be measured on the target.
        DeviceError: the device's agent cannot be used.
    """
    device, latency = bundle.manifest.device, bundle.manifest.latency_ms
    where = f"with {target.runtime}" if target is not None else "on this machine"
    target = target or LocalTarget(bundle.manifest.name, device)
    if target.why_not_measured:
        raise BundleError(f"{bundle.path}: latency cannot be measured. {target.why_not_measured}")
    machine = target.machine()
    reference = latency.reference
    changed = [] if reference is None else differences(reference.machine, machine)
    try:
        found = _measure(bundle, target, None if changed else reference)
    except MeasurementError as error:
        raise BundleError(f"{bundle.path}: latency could not be measured: {error}") from error
    context = f"{where} ({machine['runtime']} {machine['runtime_version']})"
    if changed:
        context += f", not the machine of the budget ({'; '.join(changed)}),"
    recorded = _recorded(latency)
    low, high = found.interval
    span = f"{found.ms:.4g} ms (95% interval {low:.4g} to {high:.4g}) {context}"
    budget = device.budget.latency_ms
    if budget is None:
        return f"{span}; the device has no latency budget{recorded}"
    if changed and latency.share is not None:
        return (
            f"{span} is not compared: the budget is {latency.share:g} of the largest network's "
            f"latency on the machine of the profile{recorded}"
        )
    verdict, text = check_limit(found.ms, budget, "ms", found.interval)
    if verdict == "over":
        raise BundleError(f"{bundle.path}: latency {context} {text}{recorded}.")
    return f"{context} {text}{recorded}"


def _measure(bundle: Bundle, target: Target, reference: Reference | None) -> Measurement:
    """Measure the delivered file, normalised to the reference if given."""
    with bundle.unpacked() as folder, tempfile.TemporaryDirectory() as beside:
        model = folder / bundle.manifest.model.entry
        models = replicate(model)
        if reference is None:
            # The model is its own reference: raw milliseconds.
            return pool(target.measure(models, model, PROTOCOL))
        file = Path(beside) / "reference.onnx"
        _write_reference(reference, file)
        found = target.measure(models, file, PROTOCOL, expected_ms=reference.ms)
        return pool(found).rescale(reference.ms)


def _recorded(latency: Latency) -> str:
    """Return a phrase on the latency recorded when the bundle was built."""
    if latency.measured is None:
        return ""
    low, high = latency.interval or (None, None)
    span = "" if low is None else f" ({low:.4g} to {high:.4g})"
    return f"; {latency.measured:.4g} ms{span} when it was built"


def _write_reference(reference: Reference, file: Path) -> None:
    """Build the reference network with random weights.

    Raises:
        BundleError: the manifest's description is malformed or too large.
    """
    # These import torch.
    from devices.latency.networks import write_network
    from models.space.costs import flops, parameters

    try:
        architecture = Architecture.from_json(reference.architecture)
        # Untrusted: bound memory and time.
        if parameters(architecture) > _MOST_PARAMETERS or flops(architecture) > _MOST_FLOPS:
            raise BundleError("the manifest's reference network is too large for a reference.")
        write_network(architecture, file, _SEED)
    except BundleError:
        raise
    except (*MALFORMED, ArithmeticError, RuntimeError) as error:
        raise BundleError(f"the manifest's reference network cannot be built: {error}") from error
