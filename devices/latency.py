"""A device's latency model: measured blocks, and what their plain sum gets wrong.

A block measured alone pays for entering and leaving the runtime, and for layouts that neighbours
inside a network share; so the sum of blocks is off by an amount per block and per network. A few
whole networks, measured in each precision, tell by how much (FOX-NAS fits its latency predictor
on whole networks for the same reason). int8 has no blocks of its own: where the quantised parts
begin and end is decided by the whole network.

That model is additive over blocks, so that a space's fastest architecture can be found exactly.
Beside it stands a regression on readable features of whole networks (devices.latency_regression),
which is not. Per precision the one is used whose predictions were better on networks left out of
its fit; `error` then tells how that one does on networks that took no part in fitting or choosing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from devices.latency_regression import Coefficient, FeatureError, Regression

Model = Literal["blocks", "regression"]


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
class Choice:
    """Which model a precision uses, and how both did; mean relative errors.

    Attributes:
        model: the one that is used.
        cross_validated: on the fitted networks, each predicted by a fit without it; decides.
        held_out: on the networks of `error`; only reported.
    """

    model: Model
    cross_validated: Mapping[str, float]
    held_out: Mapping[str, float]


@dataclass(frozen=True)
class LatencyTable:
    """Predicts the latency of any network made of measured blocks.

    A table without blocks stands for a device that could not be measured; it predicts nothing.

    Attributes:
        device: the device's name.
        backend: the runtime it was measured on.
        block_ms: milliseconds of every block, measured alone in float32, by the block's key.
        block_macs: multiply-accumulates of the same blocks.
        corrections: one per precision.
        error: how each precision does on held-out networks; none where none were measured.
        regressions: the other model, one per precision; none where none was fitted.
        choices: which of the two a precision uses; the blocks where it does not say.
        stages: layers per stage of the space, from which the regressions' features are counted.
        largest_ms: milliseconds of the space's largest network in the precision searched in,
            measured, or predicted where no whole network was measured; None where neither was.
        largest_interval: 95% confidence interval of that measurement; None where it has none.
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
        """Whether the device was measured, so that `predict` has an answer."""
        return bool(self.block_ms)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that `predict` knows."""
        return tuple(self.corrections)

    def additive(self, precision: str) -> bool:
        """Whether the model in use is the sum over blocks, so that `block_cost` says all."""
        return precision not in self.choices or self.choices[precision].model == "blocks"

    def predict(
        self,
        block_keys: Sequence[str],
        precision: str = "float32",
        features: Mapping[str, float] | None = None,
    ) -> float:
        """Milliseconds per image at batch 1 of a network, by the model in use.

        Args:
            block_keys: of the network's blocks.
            precision: what it runs in.
            features: the network's readable features; needed where the model is not `additive`.

        Raises:
            UnmeasuredBlockError: a block was never profiled on this device.
            LatencyError: the precision was never profiled, or features are missing.
        """
        blocks = sum(self.block_cost(key, precision) for key in block_keys)
        if self.additive(precision):
            return blocks + self._correction(precision).constant
        try:
            return self.regressions[precision].predict(features or {})
        except FeatureError as error:
            raise LatencyError(f"'{self.device}' in {precision}: {error}") from error

    def block_cost(self, key: str, precision: str = "float32") -> float:
        """Milliseconds one block adds to a network.

        Where the model is `additive`, `predict` is their sum plus a constant. Where it is not,
        they still tell roughly which blocks are quick.

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
        """Plain values, from which `from_json` makes an equal table; null where unmeasured."""
        names = ("block_ms", "block_macs", "corrections", "error", "regressions", "choices")
        content = asdict(self)
        tables = {name: content[name] if self.measured else None for name in names}
        return {
            "device": self.device,
            "backend": self.backend,
            "measured": self.measured,
            "stages": list(self.stages),
            "largest_ms": self.largest_ms,
            "largest_interval": self.largest_interval and list(self.largest_interval),
            **tables,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LatencyTable:
        """The table that `to_json` described; other keys beside are ignored.

        Raises:
            LatencyError: something is missing.
        """
        try:
            if not content["measured"]:
                return cls.unmeasured(content.get("device", ""), content.get("backend", ""))
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
                {p: _regression(row) for p, row in content["regressions"].items()},
                {p: Choice(**row) for p, row in content["choices"].items()},
                tuple(content["stages"]),
                content.get("largest_ms"),
                _interval(content.get("largest_interval")),
            )
        except (KeyError, TypeError) as problem:
            raise LatencyError(f"not a latency table: {problem!r}. Profile again.") from problem

    @classmethod
    def unmeasured(cls, device: str, backend: str) -> LatencyTable:
        """The table of a device that could not be measured."""
        return cls(device, backend, {}, {}, {}, {})

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
                    "Profile again with nothing else running, raise profile.time_limit_s if many "
                    "intervals are wide, or raise max_error."
                )

    def _correction(self, precision: str) -> Correction:
        if not self.measured:
            raise LatencyError(f"device '{self.device}' was not measured, so nothing is predicted.")
        if precision not in self.corrections:
            known = ", ".join(self.corrections)
            raise LatencyError(f"'{self.device}' was not profiled in {precision}; only in {known}.")
        return self.corrections[precision]


def _interval(row: Sequence[float] | None) -> tuple[float, float] | None:
    return None if row is None else (row[0], row[1])


def _regression(row: Mapping[str, Any]) -> Regression:
    coefficients = {name: Coefficient(**c) for name, c in row["coefficients"].items()}
    return Regression(row["ms"], row["penalty"], coefficients)
