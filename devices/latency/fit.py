"""Fitting, selection and evaluation of a device's latency models on whole networks.

Both models are fitted on one set of networks, and the better one per precision is selected on it
by cross-validation. The error of the selected model is reported on a second, held-out set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from devices.latency.regression import fit_regression
from devices.latency.table import Choice, Correction, HeldOut, LatencyTable, Model

CHOICE_MARGIN = 0.9
"""The regression is selected if its error is below this share of the sum of blocks'."""
FOLDS = 8
"""Number of cross-validation folds."""

_DIGITS = 6  # of milliseconds: nanoseconds
_RIDGE = 1e-3


@dataclass(frozen=True)
class MeasuredNetwork:
    """A measured network: block keys, milliseconds by precision, features of its stages."""

    block_keys: tuple[str, ...]
    ms: Mapping[str, float]
    features: Mapping[str, float]


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
    """Fit and select the model of each precision on `networks`; evaluate it on `held_out`.

    `networks` are at least two, in order of size; `block_ms` are milliseconds of the blocks alone
    in float32; `stages` are the layers per stage that the features are of.
    """
    block_ms = {key: round(ms, _DIGITS) for key, ms in block_ms.items()}
    bare = LatencyTable(device, backend, block_ms, block_macs, {}, {}, stages=stages)
    precisions = tuple(networks[0].ms)
    table = _fit_models(bare, networks, precisions)
    for precision in precisions:
        table = _choose_model(bare, table, networks, held_out, precision)
    return replace(table, error={p: evaluate(table, held_out, p) for p in precisions})


def evaluate(table: LatencyTable, networks: Networks, precision: str) -> HeldOut:
    """Compare predictions with measurements."""
    predicted = (table.predict(n.block_keys, precision, n.features) for n in networks)
    pairs = tuple(
        (round(ms, _DIGITS), round(network.ms[precision], _DIGITS))
        for ms, network in zip(predicted, networks, strict=True)
    )
    off = np.array([abs(predicted - measured) / measured for predicted, measured in pairs])
    shares = off.mean(), (off <= 0.05).mean(), (off <= 0.10).mean()
    mean, within_5, within_10 = (round(float(share), _DIGITS) for share in shares)
    return HeldOut(mean, within_5, within_10, pairs)


def _fit_models(bare: LatencyTable, networks: Networks, precisions: Sequence[str]) -> LatencyTable:
    """Fit both models of every precision; the sum of blocks is selected."""
    features = [network.features for network in networks]
    regressions = {p: fit_regression(features, [n.ms[p] for n in networks]) for p in precisions}
    corrections = {p: _fit_correction(bare, networks, p) for p in precisions}
    return replace(bare, corrections=corrections, regressions=regressions)


def _choose_model(
    bare: LatencyTable,
    table: LatencyTable,
    networks: Networks,
    held_out: Networks,
    precision: str,
) -> LatencyTable:
    """Select the better model of a precision by cross-validation.

    The regression must be better by `CHOICE_MARGIN`: with the sum of blocks the fastest network of
    a space is found exactly, and the comparison on few networks is noisy.
    """
    models: tuple[Model, ...] = ("blocks", "regression")
    left_out: dict[str, list[float]] = {model: [] for model in models}
    # Every FOLDS-th network, so that each fold has small and large ones.
    for part in range(min(FOLDS, len(networks))):
        others = [n for at, n in enumerate(networks) if at % FOLDS != part]
        fold = _fit_models(bare, others, (precision,))
        for model in models:
            error = evaluate(_use_model(fold, precision, model), networks[part::FOLDS], precision)
            left_out[model] += [abs(p - m) / m for p, m in error.pairs]
    validated: dict[str, float] = {
        m: round(float(np.mean(errors)), _DIGITS) for m, errors in left_out.items()
    }
    seen: dict[str, float] = {
        m: evaluate(_use_model(table, precision, m), held_out, precision).mean for m in models
    }
    clearly = validated["regression"] < CHOICE_MARGIN * validated["blocks"]
    best: Model = "regression" if clearly else "blocks"
    return _use_model(table, precision, best, validated, seen)


def _use_model(
    table: LatencyTable,
    precision: str,
    model: Model,
    cross_validated: Mapping[str, float] | None = None,
    held_out: Mapping[str, float] | None = None,
) -> LatencyTable:
    choice = Choice(model, cross_validated or {}, held_out or {})
    return replace(table, choices={**table.choices, precision: choice})


def _fit_correction(bare: LatencyTable, networks: Networks, precision: str) -> Correction:
    """Ridge regression of relative errors, regularised towards the best multiple of the sum.

    With few networks the features (sum, MACs, blocks, one) are nearly collinear. The scale differs
    from 1 in precisions without measured blocks.
    """
    rows = [
        [
            sum(bare.block_ms[key] for key in n.block_keys),
            sum(bare.block_macs[key] for key in n.block_keys) / 1e6,
            len(n.block_keys),
            1.0,
        ]
        for n in networks
    ]
    measured_N = np.array([n.ms[precision] for n in networks])
    relative_NF = np.array(rows) / measured_N[:, None]  # equal weight of every network
    size_F = np.abs(relative_NF).mean(0)
    size_F[size_F == 0] = 1.0
    scaled_NF = relative_NF / size_F
    sums_N = relative_NF[:, 0]
    plain_F = np.array([sums_N.sum() / (sums_N @ sums_N), 0.0, 0.0, 0.0]) * size_F
    residual_N = 1.0 - scaled_NF @ plain_F
    gram_FF = scaled_NF.T @ scaled_NF / len(networks) + _RIDGE * np.eye(len(size_F))
    change_F = np.linalg.solve(gram_FF, scaled_NF.T @ residual_N / len(networks))
    return Correction(*(round(float(value), 9) for value in (plain_F + change_F) / size_F))
