"""A device's latency model: measured blocks, and what their plain sum gets wrong.

A block measured alone pays for entering and leaving the runtime, and for layouts that neighbours
inside a network share; so the sum of blocks is off by an amount per block and per network. A few
whole networks, measured in each precision, tell by how much (FOX-NAS fits its latency predictor
on whole networks for the same reason). int8 has no blocks of its own: where the quantised parts
begin and end is decided by the whole network.

The model is additive over blocks, so that a space's fastest architecture can be found exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.device import Device

_DIGITS = 6  # of milliseconds: nanoseconds
_RIDGE = 1e-3


class LatencyError(ValueError):
    """A latency model that cannot be used; the message says why and what to do."""


class UnmeasuredBlockError(LatencyError):
    """A block that the profile of this device does not hold."""


@dataclass(frozen=True)
class Correction:
    """From blocks to a network, for one precision; the sum over blocks plus `constant`.

    Attributes:
        scale: milliseconds per measured float32 millisecond of a block.
        per_mega_mac: milliseconds per million multiply-accumulates of a block.
        per_block: milliseconds per block.
        constant: milliseconds per network.
    """

    scale: float
    per_mega_mac: float
    per_block: float
    constant: float


@dataclass(frozen=True)
class HeldOut:
    """How well the model does on networks it was not fitted on.

    Attributes:
        mean: mean of |predicted - measured| / measured.
        within_5: share of networks with a relative error of at most 5%.
        within_10: likewise 10%.
        pairs: (predicted, measured) milliseconds of each network.
    """

    mean: float
    within_5: float
    within_10: float
    pairs: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class LatencyTable:
    """Predicts the latency of any network made of measured blocks.

    Attributes:
        device: the device's name.
        backend: the runtime it was measured on.
        block_ms: milliseconds of every block, measured alone in float32, by the block's key.
        block_macs: multiply-accumulates of the same blocks.
        corrections: one per precision.
        error: how each precision does on held-out networks.
    """

    device: str
    backend: str
    block_ms: Mapping[str, float]
    block_macs: Mapping[str, int]
    corrections: Mapping[str, Correction]
    error: Mapping[str, HeldOut]

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that `predict` knows."""
        return tuple(self.corrections)

    def predict(self, block_keys: Sequence[str], precision: str = "float32") -> float:
        """Milliseconds per image at batch 1 of a network of these blocks.

        Raises:
            UnmeasuredBlockError: a block was never profiled on this device.
            LatencyError: the precision was never profiled.
        """
        blocks = sum(self.block_cost(key, precision) for key in block_keys)
        return blocks + self._correction(precision).constant

    def block_cost(self, key: str, precision: str = "float32") -> float:
        """Milliseconds one block adds to a network; `predict` is their sum plus a constant.

        Raises:
            UnmeasuredBlockError: the block was never profiled on this device.
            LatencyError: the precision was never profiled.
        """
        correction = self._correction(precision)
        if key not in self.block_ms:
            raise UnmeasuredBlockError(
                f"block '{key}' was never measured on '{self.device}'. Profile the device again "
                f"with the present space: netwright profile {self.device}"
            )
        return (
            correction.scale * self.block_ms[key]
            + correction.per_mega_mac * self.block_macs[key] / 1e6
            + correction.per_block
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes an equal table."""
        return asdict(self) | {
            "block_ms": dict(self.block_ms),
            "block_macs": dict(self.block_macs),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LatencyTable:
        """The table that `to_json` described; other keys beside are ignored.

        Raises:
            LatencyError: the device was not measured, or something is missing.
        """
        if content.get("block_ms") is None:
            raise LatencyError(f"device '{content.get('device')}' has no measured latency table.")
        try:
            corrections = {p: Correction(**row) for p, row in content["corrections"].items()}
            error = {
                p: HeldOut(**(row | {"pairs": tuple((a, b) for a, b in row["pairs"])}))
                for p, row in content["error"].items()
            }
            return cls(
                content["device"],
                content["backend"],
                dict(content["block_ms"]),
                dict(content["block_macs"]),
                corrections,
                error,
            )
        except (KeyError, TypeError) as problem:
            raise LatencyError(f"not a latency table: {problem!r}. Profile again.") from problem

    def check_error(self, limit: float) -> None:
        """Refuse a model that is too wrong on networks it has not seen.

        Raises:
            LatencyError: the mean relative error of some precision is past `limit`.
        """
        for precision, error in self.error.items():
            if error.mean > limit:
                raise LatencyError(
                    f"the latency model of '{self.device}' is off by {error.mean:.1%} on average "
                    f"on {len(error.pairs)} held-out {precision} networks ({error.within_10:.0%} "
                    f"are within 10%), and devices.{self.device}.max_error allows {limit:.1%}. "
                    "Profile again with nothing else running, raise profile.blocks, or raise "
                    "max_error."
                )

    def _correction(self, precision: str) -> Correction:
        if precision not in self.corrections:
            known = ", ".join(self.corrections)
            raise LatencyError(f"'{self.device}' was not profiled in {precision}; only in {known}.")
        return self.corrections[precision]


def search_precision(device: Device) -> str:
    """The precision in which a device's latency budget is searched for.

    `auto` is searched in float32: whether a lower precision keeps the accuracy is known only
    after training, and without it the float32 network is what must keep the budget.
    """
    return "float32" if device.precision == "auto" else device.precision


@dataclass(frozen=True)
class MeasuredNetwork:
    """A whole network: its blocks' keys, and its milliseconds by precision."""

    block_keys: tuple[str, ...]
    ms: Mapping[str, float]


def fit(
    device: str,
    backend: str,
    block_ms: Mapping[str, float],
    block_macs: Mapping[str, int],
    networks: Sequence[MeasuredNetwork],
    held_out: Sequence[MeasuredNetwork],
) -> LatencyTable:
    """Fit each precision's correction on `networks`, and judge it on `held_out`.

    Args:
        device: the device's name.
        backend: the runtime's name.
        block_ms: milliseconds of every block, measured alone in float32.
        block_macs: multiply-accumulates of the same blocks.
        networks: measured in the precisions to fit; at least one.
        held_out: others, measured in the same precisions.
    """
    block_ms = {key: round(ms, _DIGITS) for key, ms in block_ms.items()}
    precisions = tuple(networks[0].ms)
    corrections = {p: _fit_one(p, networks, block_ms, block_macs) for p in precisions}
    table = LatencyTable(device, backend, block_ms, block_macs, corrections, {})
    error = {p: judge(table, held_out, p) for p in precisions}
    return LatencyTable(device, backend, block_ms, block_macs, corrections, error)


def judge(table: LatencyTable, networks: Sequence[MeasuredNetwork], precision: str) -> HeldOut:
    """Compare predictions with measurements."""
    pairs = tuple(
        (round(table.predict(n.block_keys, precision), _DIGITS), round(n.ms[precision], _DIGITS))
        for n in networks
    )
    off = np.array([abs(predicted - measured) / measured for predicted, measured in pairs])
    return HeldOut(
        round(float(off.mean()), _DIGITS),
        round(float((off <= 0.05).mean()), _DIGITS),
        round(float((off <= 0.10).mean()), _DIGITS),
        pairs,
    )


def _fit_one(
    precision: str,
    networks: Sequence[MeasuredNetwork],
    block_ms: Mapping[str, float],
    block_macs: Mapping[str, int],
) -> Correction:
    """Ridge regression of relative errors, drawn towards the plain sum of blocks.

    With few networks the features (sum, MACs, blocks, one) are nearly collinear; what they leave
    open stays at scale 1 and nothing else.
    """
    rows = [_features(n.block_keys, block_ms, block_macs) for n in networks]
    measured_N = np.array([n.ms[precision] for n in networks])
    relative_NF = np.array(rows) / measured_N[:, None]  # so that every network counts alike
    size_F = np.abs(relative_NF).mean(0)
    size_F[size_F == 0] = 1.0
    scaled_NF = relative_NF / size_F
    plain_F = np.array([1.0, 0.0, 0.0, 0.0]) * size_F
    residual_N = 1.0 - scaled_NF @ plain_F
    gram_FF = scaled_NF.T @ scaled_NF / len(networks) + _RIDGE * np.eye(len(size_F))
    change_F = np.linalg.solve(gram_FF, scaled_NF.T @ residual_N / len(networks))
    scale, per_mega_mac, per_block, constant = (plain_F + change_F) / size_F
    return Correction(
        round(float(scale), 9),
        round(float(per_mega_mac), 9),
        round(float(per_block), 9),
        round(float(constant), 9),
    )


def _features(
    keys: Sequence[str], block_ms: Mapping[str, float], block_macs: Mapping[str, int]
) -> npt.NDArray[np.float64]:
    return np.array(
        [
            sum(block_ms[key] for key in keys),
            sum(block_macs[key] for key in keys) / 1e6,
            len(keys),
            1.0,
        ]
    )
