"""Selects the target that runs a bundle's model for `netwright verify`: local or an agent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundles.check.verify import FindTarget
from bundles.manifest import Manifest
from devices.device import Device
from devices.measure.target import Target, open_target
from pipelines.checks.params import read_params
from pipelines.graph import GraphError, find_root


def target_finder(folder: Path, agent: str | None) -> FindTarget:
    """Return a function that opens the target of a bundle's device, from `agent` or the params.

    Never from the bundle: an untrusted archive must not select a host and a token.

    Args:
        folder: working folder of the command.
        agent: `host:port` of an agent, which overrides the params.
    """

    def find(manifest: Manifest) -> Target | None:
        known = known_device(folder, manifest)
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


def known_device(folder: Path, manifest: Manifest) -> Device | None:
    """The device with the bundle's name in the params of the enclosing repository, if any."""
    try:
        root = find_root(folder)
    except GraphError:
        return None  # verification needs no repository
    devices: Mapping[str, Device] = read_params(root)["devices"]
    return devices.get(manifest.name)
