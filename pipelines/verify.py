"""Where the delivered file of a bundle is run to be verified: here, or by its device's agent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devices.bench import Bench, bench_of
from devices.device import Device
from pipelines.graph import GraphError, find_root
from pipelines.params import read_params
from stages.bundle.manifest import Manifest
from stages.bundle.verify import FindBench


def bench_finder(folder: Path, agent: str | None) -> FindBench:
    """Find the bench of a bundle's device in what the caller says, or in the params around.

    Never in the bundle: a stranger's archive must not say whom to connect to with which token.

    Args:
        folder: where the command was called.
        agent: `host:port` of an agent to use, whatever the params say.
    """

    def find(manifest: Manifest) -> Bench | None:
        known = known_device(folder, manifest)
        if agent is not None:
            own = known or manifest.device  # the token's variable, and the patience
            changes: dict[str, Any] = {"agent": agent, "table": None}
            changes |= {key: getattr(own, key) for key in ("agent_token_env", "agent_patience_s")}
            device = manifest.device.model_copy(update=changes)
            # Checked as a device of the params would be, for the same messages.
            return bench_of(manifest.name, type(device).model_validate(device.model_dump()))
        if known is None or known.agent is None or known.backend != manifest.device.backend:
            return None
        return bench_of(manifest.name, known)

    return find


def known_device(folder: Path, manifest: Manifest) -> Device | None:
    """The device of a bundle's name in the params around a folder, where there are any."""
    try:
        root = find_root(folder)
    except GraphError:
        return None  # a bundle is verified anywhere
    devices: Mapping[str, Device] = read_params(root)["devices"]
    return devices.get(manifest.name)
