"""Fitting a device's latency models on whole networks, choosing one, judging it on others.

The networks are of two kinds. On the first both models are fitted; and there, by
cross-validation, the better is chosen for each precision. The second, held-out, take part in
neither: the error told on them is that of the chosen model on networks nobody has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from devices.latency import Choice, Correction, HeldOut, LatencyTable, Model
from devices.latency_regression import fit_regression

CLEARLY = 0.9
"""The regression is used where its error is below this share of the sum of blocks'."""
FOLDS = 8
"""Parts of the fitted networks; each part is predicted by fits on the others."""

_DIGITS = 6  # of milliseconds: nanoseconds
_RIDGE = 1e-3


@dataclass(frozen=True)
class MeasuredNetwork:
    """A whole network: its blocks' keys, its milliseconds by precision, its readable features."""

    block_keys: tuple[str, ...]
    ms: Mapping[str, float]
    features: Mapping[str, float] = field(default_factory=dict)


Networks = Sequence[MeasuredNetwork]


def fit(
    device: str,
    backend: str,
    block_ms: Mapping[str, float],
    block_macs: Mapping[str, int],
    networks: Networks,
    held_out: Networks,
    stages: tuple[int, ...] = (),
) -> LatencyTable:
    """Fit and choose each precision's model on `networks`, and judge it on `held_out`.

    Args:
        device: the device's name.
        backend: the runtime's name.
        block_ms: milliseconds of every block, measured alone in float32.
        block_macs: multiply-accumulates of the same blocks.
        networks: measured in the precisions to fit; at least two, in order of their size. Where
            they have no features, only the sum of blocks is fitted.
        held_out: others, measured in the same precisions.
        stages: layers per stage, from which the features were counted.
    """
    block_ms = {key: round(ms, _DIGITS) for key, ms in block_ms.items()}
    bare = LatencyTable(device, backend, block_ms, block_macs, {}, {}, stages=stages)
    precisions = tuple(networks[0].ms)
    table = _fitted(bare, networks, precisions)
    for precision in precisions if table.regressions else ():
        table = _chosen(bare, table, networks, held_out, precision)
    return replace(table, error={p: judge(table, held_out, p) for p in precisions})


def plain(
    device: str, backend: str, block_ms: Mapping[str, float], block_macs: Mapping[str, int]
) -> LatencyTable:
    """The plain sum of float32 blocks, for a device whose whole networks nobody measured."""
    as_they_are = {"float32": Correction(1.0, 0.0, 0.0, 0.0)}
    return LatencyTable(device, backend, block_ms, block_macs, as_they_are, {})


def judge(table: LatencyTable, networks: Networks, precision: str) -> HeldOut:
    """Compare predictions with measurements."""
    pairs = tuple(
        (
            round(table.predict(n.block_keys, precision, n.features), _DIGITS),
            round(n.ms[precision], _DIGITS),
        )
        for n in networks
    )
    off = np.array([abs(predicted - measured) / measured for predicted, measured in pairs])
    return HeldOut(
        round(float(off.mean()), _DIGITS),
        round(float((off <= 0.05).mean()), _DIGITS),
        round(float((off <= 0.10).mean()), _DIGITS),
        pairs,
    )


def _fitted(bare: LatencyTable, networks: Networks, precisions: Sequence[str]) -> LatencyTable:
    """Both models of every precision; the sum of blocks is in use."""
    regressions = {}
    if networks[0].features:
        features = [network.features for network in networks]
        for precision in precisions:
            regressions[precision] = fit_regression(features, [n.ms[precision] for n in networks])
    blocks = bare.block_ms, bare.block_macs
    corrections = {p: _fit_one(p, networks, *blocks) for p in precisions}
    return replace(bare, corrections=corrections, regressions=regressions)


def _chosen(
    bare: LatencyTable,
    table: LatencyTable,
    networks: Networks,
    held_out: Networks,
    precision: str,
) -> LatencyTable:
    """`table` with the precision's better model in use.

    The regression has to be clearly better: the sum of blocks tells a space's fastest network
    exactly, and few networks are a coin that lands on its edge.
    """
    models: tuple[Model, ...] = ("blocks", "regression")
    left_out: dict[str, list[float]] = {model: [] for model in models}
    # Every FOLDS-th network, so that each part reaches from the small to the large ones.
    for part in range(min(FOLDS, len(networks))):
        others = [n for at, n in enumerate(networks) if at % FOLDS != part]
        fold = _fitted(bare, others, (precision,))
        for model in models:
            error = judge(_using(fold, precision, model), networks[part::FOLDS], precision)
            left_out[model] += [abs(p - m) / m for p, m in error.pairs]
    validated: dict[str, float] = {
        m: round(float(np.mean(errors)), _DIGITS) for m, errors in left_out.items()
    }
    seen: dict[str, float] = {
        m: judge(_using(table, precision, m), held_out, precision).mean for m in models
    }
    clearly = validated["regression"] < CLEARLY * validated["blocks"]
    best: Model = "regression" if clearly else "blocks"
    return _using(table, precision, best, validated, seen)


def _using(
    table: LatencyTable,
    precision: str,
    model: Model,
    cross_validated: Mapping[str, float] | None = None,
    held_out: Mapping[str, float] | None = None,
) -> LatencyTable:
    choice = Choice(model, cross_validated or {}, held_out or {})
    return replace(table, choices={**table.choices, precision: choice})


def _fit_one(
    precision: str,
    networks: Networks,
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
