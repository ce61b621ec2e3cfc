"""Latency model of a device: measured block latencies with a fitted correction.

A block measured alone includes overhead of entering and leaving the runtime, and layout conversions
that adjacent blocks share, so the sum of blocks has an error per block and per network. The
correction is fitted on whole networks measured in each precision (as FOX-NAS fits its latency
predictor on whole networks). int8 blocks are not measured: the placement of quantised layers
depends on the whole network.

This model is additive over blocks, so that the fastest architecture of a space can be found
exactly. The alternative, a regression on features of whole networks (devices.latency.regression),
is not additive. Each precision uses the model with the lower cross-validation error; `error` is
its error on held-out networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from core.errors import UserError
from devices.latency.regression import Regression
from models.space.architecture import Architecture

Model = Literal["blocks", "regression"]
FLOAT32: Final = "float32"


def network_key(architecture: Architecture, precision: str) -> str:
    """Key of a measured network in a precision."""
    return f"{precision}-{architecture.id}"


@dataclass(frozen=True)
class Correction:
    """Correction of the sum of blocks for one precision: milliseconds of a network.

    Per measured float32 millisecond of a block, per million multiply-accumulates of a block, per
    block, and per network.
    """

    scale: float
    per_mega_mac: float
    per_block: float
    constant: float


@dataclass(frozen=True)
class HeldOut:
    """Error of the model on held-out networks.

    The mean of |predicted - measured| / measured, the shares of networks within 5% and 10%, and
    (predicted, measured) milliseconds of each network.
    """

    mean: float
    within_5: float
    within_10: float
    pairs: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Choice:
    """The model of a precision, and the mean relative errors of both models.

    Attributes:
        model: the selected model.
        cross_validated: cross-validation errors on the fitted networks; used for selection.
        held_out: errors on the held-out networks; only reported.
    """

    model: Model
    cross_validated: Mapping[str, float]
    held_out: Mapping[str, float]


@dataclass(frozen=True)
class LatencyTable:
    """Predicts the latency of networks of measured blocks; no blocks: device not measured.

    Attributes:
        device: the device's name.
        backend: the runtime it was measured on.
        block_ms: milliseconds of every block, measured alone in float32, by block key.
        block_macs: multiply-accumulates of the same blocks.
        corrections: one per precision.
        error: error on held-out networks, per precision; empty if none were measured.
        regressions: the alternative model, per precision; empty if not fitted.
        choices: selected model, per precision; default: sum of blocks.
        stages: layers per stage of the space, for the features of the regressions.
        largest_ms: milliseconds of the largest network of the space (by multiply-accumulates) in
            the search precision; predicted if no network was measured; None if not available.
        largest_interval: 95% confidence interval of `largest_ms`; None if predicted.
    """

    device: str
    backend: str
    block_ms: Mapping[str, float]
    block_macs: Mapping[str, int]
    corrections: Mapping[str, Correction]
    error: Mapping[str, HeldOut]
    regressions: Mapping[str, Regression] = field(default_factory=dict)
    choices: Mapping[str, Choice] = field(default_factory=dict)
    stages: tuple[int, ...] = ()
    largest_ms: float | None = None
    largest_interval: tuple[float, float] | None = None

    @property
    def measured(self) -> bool:
        """Whether the device was measured, as `predict` requires."""
        return bool(self.block_ms)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions supported by `predict`."""
        return tuple(self.corrections)

    def additive(self, precision: str) -> bool:
        """Whether the selected model is the sum of `block_cost` over blocks plus a constant."""
        return precision not in self.choices or self.choices[precision].model == "blocks"

    def predict(
        self,
        block_keys: Sequence[str],
        precision: str = "float32",
        features: Mapping[str, float] | None = None,
    ) -> float:
        """Predict the milliseconds per image of a network at batch 1, from its blocks' keys.

        Features are required if the model is not `additive`.

        Raises:
            UserError: a block or the precision was not profiled, or features are missing.
        """
        blocks = sum(self.block_cost(key, precision) for key in block_keys)
        if self.additive(precision):
            return blocks + self.correction(precision).constant
        return float(self.regress(features or {}, precision))

    def regress(self, features: Mapping[str, Any], precision: str) -> Any:
        """Predict the milliseconds of one network, or of N from features of shape (N,)."""
        return self.regressions[precision].predict(features)

    def block_cost(self, key: str, precision: str = "float32") -> float:
        """Milliseconds that one block adds to a network.

        If the model is not `additive`, this is only an estimate.

        Raises:
            UserError: the block or the precision was not profiled.
        """
        correction = self.correction(precision)
        if key not in self.block_ms:
            raise UserError(
                f"block '{key}' was not measured on '{self.device}'. Profile the device again "
                f"with the current space: netwright profile {self.device}"
            )
        return (
            correction.scale * self.block_ms[key]
            + correction.per_mega_mac * self.block_macs[key] / 1e6
            + correction.per_block
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values, which `from_json` reads back; null if not measured."""
        content = asdict(self) | {"measured": self.measured}
        if not self.measured:
            tables = ("block_ms", "block_macs", "corrections", "error", "regressions", "choices")
            content |= dict.fromkeys(tables)
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LatencyTable:
        """Parse the output of `to_json`; other keys are ignored.

        Raises:
            UserError: a key is missing.
        """
        names = {row.name for row in fields(cls)} & content.keys()
        try:
            if not content["measured"]:
                return cls.unmeasured(content.get("device", ""), content.get("backend", ""))
            return TypeAdapter(cls).validate_python({name: content[name] for name in names})
        except (KeyError, ValidationError) as problem:
            raise UserError(f"not a latency table: {problem}. Profile again.") from problem

    @classmethod
    def unmeasured(cls, device: str, backend: str) -> LatencyTable:
        """The table of a device that was not measured."""
        return cls(device, backend, {}, {}, {}, {})

    def check_error(self, limit: float) -> None:
        """Check the error on held-out networks.

        Raises:
            UserError: the mean relative error of a precision exceeds `limit`.
        """
        for precision, error in self.error.items():
            if error.mean > limit:
                raise UserError(
                    f"the latency model of '{self.device}' is off by {error.mean:.1%} on average "
                    f"on {len(error.pairs)} held-out {precision} networks ({error.within_10:.0%} "
                    f"are within 10%), but devices.{self.device}.max_error allows {limit:.1%}. "
                    "Profile again with nothing else running, raise profile.time_limit_s if many "
                    "intervals are wide, or raise max_error."
                )

    def correction(self, precision: str) -> Correction:
        """The correction of a precision.

        Raises:
            UserError: the device was not measured, or not in this precision.
        """
        if not self.measured:
            raise UserError(
                f"device '{self.device}' was not measured, so latency cannot be predicted."
            )
        if precision not in self.corrections:
            known = ", ".join(self.corrections)
            raise UserError(f"'{self.device}' was not profiled in {precision}; only in {known}.")
        return self.corrections[precision]
