"""The commands about one bundle: verify, locally or on an agent, and predict."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.common import FAILED, WRONG_USE, Failure

if TYPE_CHECKING:
    from bundles.check.verify import FindTarget
    from bundles.manifest import Manifest
    from devices.device import Device
    from devices.measure.target import Target

BundleFile = Annotated[Path, typer.Argument(metavar="BUNDLE", exists=True, dir_okay=False)]


def predict(
    bundle: BundleFile,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...")],
    min_confidence: Annotated[
        float,
        typer.Option(
            metavar="P", min=0, max=1, help="Answer `unsure` where no class is as probable as this."
        ),
    ] = 0.0,
) -> None:
    """Print label and probability of each image, from the bundle alone."""
    from bundles.archive import BundleError
    from bundles.check.run import UNSURE, describe_confidence
    from bundles.check.run import predict as predict_images
    from devices.device import DeviceError

    try:
        results = predict_images(bundle, images)
        if min_confidence > 0:
            print(f"note: {describe_confidence(bundle, min_confidence)}", file=sys.stderr)
    except (BundleError, DeviceError) as error:
        raise Failure(FAILED, str(error)) from error
    for image, (label, probability) in zip(images, results, strict=True):
        answer = label if probability >= min_confidence else UNSURE
        print(f"{image}\t{answer}\t{probability:.4f}")


def verify(
    bundle: BundleFile,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
    public_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Public key of the trusted signer (PEM).")
    ] = None,
    signature: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The signature. Default: BUNDLE.sig.")
    ] = None,
    require_signature: Annotated[
        bool, typer.Option("--require-signature", help="Refuse a bundle without a signature.")
    ] = False,
    latency: Annotated[
        bool,
        typer.Option("--latency", help="Also measure latency, and check it against the budget."),
    ] = False,
    agent: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Run the checks on the agent at this address."),
    ] = None,
    here: Annotated[
        bool, typer.Option("--here", help="Run the checks locally, not on an agent of params.yaml.")
    ] = False,
) -> None:
    """Check a bundle: its signature, its hashes, its golden outputs and its limits."""
    from bundles.check.verify import verify as verify_bundle
    from bundles.signature import Trust

    if public_key is None and (require_signature or signature is not None):
        raise Failure(WRONG_USE, "--require-signature and --signature need --public-key FILE.")
    trust = None if public_key is None else Trust(public_key, signature, require_signature)
    find_target = None if here else target_finder(Path.cwd(), agent)
    result = verify_bundle(bundle, find_target, trust, latency)
    if as_json:
        print(json.dumps(result.to_json(), indent=2, sort_keys=True))
    else:
        for check in result.checks:
            print(f"{'ok    ' if check.passed else 'FAILED'} {check.name}: {check.detail}")
        print(f"{bundle}: {'verified' if result.passed else 'NOT verified'}")
    if not result.passed:
        raise Failure(FAILED)


def target_finder(folder: Path, agent: str | None) -> FindTarget:
    """Return a function that opens the target of a bundle's device.

    Its address is `agent`, or that of the params around `folder`. Never the bundle's: an untrusted
    archive must not select a host and a token.
    """
    from devices.measure.target import open_target

    def find(manifest: Manifest) -> Target | None:
        known = _known_device(folder, manifest)
        if agent is not None:
            own = known or manifest.device  # has the token's variable and the timeout
            changes: dict[str, Any] = {"agent": agent, "table": None}
            changes |= {key: getattr(own, key) for key in ("agent_token_env", "agent_patience_s")}
            device = manifest.device.model_copy(update=changes)
            # Validated like a device of the params, for the same error messages.
            return open_target(manifest.name, type(device).model_validate(device.model_dump()))
        if known is None or known.agent is None or known.backend != manifest.device.backend:
            return None
        return open_target(manifest.name, known)

    return find


def _known_device(folder: Path, manifest: Manifest) -> Device | None:
    """The device with the bundle's name in the params of the enclosing repository, if any."""
    from pipelines.checks.params import read_params
    from pipelines.graph import GraphError, find_root

    try:
        root = find_root(folder)
    except GraphError:
        return None  # verification needs no repository
    devices: Mapping[str, Device] = read_params(root)["devices"]
    return devices.get(manifest.name)
