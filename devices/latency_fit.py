"""Fitting a device's latency model on whole networks, and judging it on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from devices.latency import Correction, HeldOut, LatencyTable

_DIGITS = 6  # of milliseconds: nanoseconds
_RIDGE = 1e-3


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
    return replace(table, error=error)


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
    """Ridge regression of relative errors, drawn towards the best multiple of the sum of blocks.

    With few networks the features (sum, MACs, blocks, one) are nearly collinear; what they leave
    open stays with the scale, which differs from 1 where a precision has no blocks of its own.
    """
    rows = [_features(n.block_keys, block_ms, block_macs) for n in networks]
    measured_N = np.array([n.ms[precision] for n in networks])
    relative_NF = np.array(rows) / measured_N[:, None]  # so that every network counts alike
    size_F = np.abs(relative_NF).mean(0)
    size_F[size_F == 0] = 1.0
    scaled_NF = relative_NF / size_F
    sums_N = relative_NF[:, 0]
    plain_F = np.array([sums_N.sum() / (sums_N @ sums_N), 0.0, 0.0, 0.0]) * size_F
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
