"""The fleet stage's output: `fleet.json`, its picture, and a network per device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.files import write_bytes
from devices.fleet.joint import Joint
from devices.fleet.picture import fleet_png


@dataclass(frozen=True)
class FleetResult:
    """Networks shared by devices."""

    joint: Joint

    def write(self, out: Path, choices: Path) -> None:
        """Write the fleet to the folder `out`, and one choice per device to `choices`."""
        self.joint.record().write(out)
        write_bytes(out / "fleet.png", fleet_png(self.joint))
        for number, member in enumerate(self.joint.members):
            self.joint.choice(number).write(choices / f"{member.name}.json")


def summary_line(joint: Joint) -> str:
    """Summarise the result in one line."""
    users = "; ".join(" and ".join(joint.users(n)) for n in joint.shared.networks)
    return (
        f"{len(joint.shared.networks)} of {len(joint.networks)} networks would serve all devices "
        f"({users}) and lose at most {max(joint.shared.losses):.4f} of supernet accuracy."
    )
