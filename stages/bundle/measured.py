"""Latency of a bundle's delivered file, here or on its device, against the budget.

Where the machine is of the kind that the device's profile was made on, the file is measured
against the profile's reference network and told in the profile's milliseconds, so that a machine
that is slower today holds nothing back. On another kind a ratio to that network says nothing of
the budget: one in milliseconds is held against the other machine's own, and one that is a share
of the largest network's latency on the first machine is not judged.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from devices.bench import Bench, HereBench
from devices.fingerprint import differences
from devices.measure import Measurement, MeasurementError, Protocol, pooled, repeated
from models.architecture import Architecture
from stages.bundle.errors import BundleError
from stages.bundle.gate import judge_latency
from stages.bundle.manifest import Latency, Reference
from stages.bundle.read import Bundle

PROTOCOL = Protocol(blocks=9, calls=20)
"""Nobody chose params here."""
_SEED = 0
_MOST_PARAMETERS, _MOST_FLOPS = 10**8, 10**11
"""Of a reference network, which is the smallest of a space."""


def measure_latency(path: Path, bundle: Bundle, bench: Bench | None = None) -> tuple[str, Any]:
    """Measure the delivered file in processes of its own.

    Args:
        path: the archive, for messages.
        bundle: its content.
        bench: where it is measured; None: on this machine.

    Returns:
        A sentence, and True: it is not over the budget, as far as that can be judged there.

    Raises:
        BundleError: it is over the budget, or cannot be measured there.
        DeviceError: the device's agent cannot be used.
    """
    device, told = bundle.manifest.device, bundle.manifest.latency_ms
    where = f"with {bench.runtime}" if bench is not None else "on this machine"
    bench = bench or HereBench(device)
    if bench.why_not_measured:
        raise BundleError(f"{path}: latency cannot be measured here. {bench.why_not_measured}")
    machine = bench.machine()
    reference = told.reference
    changed = [] if reference is None else differences(reference.machine, machine)
    try:
        found = _measured(bundle, bench, None if changed else reference)
    except MeasurementError as error:
        raise BundleError(f"{path}: latency could not be measured: {error}") from error
    said = f"{where} ({machine['runtime']} {machine['runtime_version']})"
    if changed:
        said += f", another machine than the budget's ({'; '.join(changed)}),"
    low, high = found.interval
    span = f"{found.ms:.4g} ms (95% interval {low:.4g} to {high:.4g}) {said}"
    budget = device.budget.latency_ms
    if budget is None:
        return f"{span}; the device has no latency budget{_recorded(told)}", True
    if changed and told.share is not None:
        return (
            f"{span} is not judged: the budget is {told.share:g} of what the largest network takes "
            f"on the machine of the profile{_recorded(told)}"
        ), True
    verdict, judged = judge_latency(found.ms, found.interval, budget)
    if verdict == "over":
        raise BundleError(f"{path}: latency {said} {judged}{_recorded(told)}.")
    return f"{said} {judged}{_recorded(told)}", True


def _measured(bundle: Bundle, bench: Bench, reference: Reference | None) -> Measurement:
    """The delivered file's latency: in the reference's milliseconds, or in the machine's own."""
    with bundle.unpacked() as folder, tempfile.TemporaryDirectory() as beside:
        model = folder / bundle.manifest.model.entry
        models = repeated(model)
        if reference is None:
            # A network beside itself: what counts is its own time.
            return pooled(bench.measure(models, model, PROTOCOL))
        file = Path(beside) / "reference.onnx"
        _write_reference(reference, file)
        found = bench.measure(models, file, PROTOCOL, quick_ms=reference.ms)
        return pooled(found).in_clock(reference.ms)


def _recorded(told: Latency) -> str:
    """What the manifest says was measured when the bundle was made."""
    if told.measured is None:
        return ""
    span = "" if told.interval is None else f" ({told.interval[0]:.4g} to {told.interval[1]:.4g})"
    return f"; {told.measured:.4g} ms{span} when it was made"


def _write_reference(reference: Reference, file: Path) -> None:
    """Build the reference network anew, with random weights, on which latency hardly depends.

    Raises:
        BundleError: the manifest describes no network, or a huge one.
    """
    import torch

    from models.costs import flops, parameters
    from models.onnx_export import to_onnx
    from models.subnet import Subnet

    try:
        architecture = Architecture.from_json(reference.architecture)
        # A stranger's: it must not take the machine's memory or its day.
        if parameters(architecture) > _MOST_PARAMETERS or flops(architecture) > _MOST_FLOPS:
            raise BundleError("the manifest's reference network is too large to be one.")
        torch.manual_seed(_SEED)
        content = to_onnx(Subnet(architecture), architecture.image_shape)
    except BundleError:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError) as error:
        raise BundleError(f"the manifest's reference network cannot be built: {error}") from error
    file.write_bytes(content)
