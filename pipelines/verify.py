"""Where the delivered file of a bundle is run to be verified: here, or by its device's agent."""

from __future__ import annotations

from pathlib import Path

from devices.bench import Bench, bench_of
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
        if agent is not None:
            device = manifest.device.model_copy(update={"agent": agent})
            # Checked as a device of the params would be, for the same messages.
            return bench_of(manifest.name, type(device).model_validate(device.model_dump()))
        try:
            root = find_root(folder)
        except GraphError:
            return None  # a bundle is verified anywhere
        known = read_params(root)["devices"].get(manifest.name)
        if known is None or known.agent is None or known.backend != manifest.device.backend:
            return None
        return bench_of(manifest.name, known)

    return find
