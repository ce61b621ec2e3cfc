"""A probability distribution over a search space's architectures.

Two forms. FACTORISED (FP-NAS, section 3.2: coarse): in every group an independent categorical per
variable; a candidate's probability is the product over its ACTIVE variables, so variables hidden
by a skip are marginalised. JOINT (fine; the form of PARSEC): one categorical per group over its
candidates. The joint form is implemented as a factorised one with a single variable, `candidate`.
Groups are independent in both forms.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from core.errors import UserError
from models.space.space import INACTIVE, Group

SCHEMA = "netwright/distribution/1"
CANDIDATE = "candidate"

Form = Literal["factorised", "joint"]
Vector = npt.NDArray[np.float64]
Choices = tuple[int, ...]
"""Candidate index per group; identifies an architecture of a space."""


@dataclass(frozen=True)
class Factor:
    """One categorical variable; the logit of `options[i]` has index `start + i`."""

    group: int
    variable: str
    options: tuple[str, ...]
    start: int

    @property
    def part(self) -> slice:
        """Slice of its logits in the logit vector."""
        return slice(self.start, self.start + len(self.options))


@dataclass(frozen=True)
class Matched:
    """Which logits of a saved distribution matched another space by name.

    Attributes:
        found: `group/variable=option` of every logit that was loaded.
        missing: logits of the new space that the file lacks.
        unused: logits of the file that the new space lacks.
    """

    found: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...] = ()

    def by_group(self) -> dict[str, dict[str, list[str]]]:
        """Per group of the new space the matched logits and those initialised as uniform."""
        groups: dict[str, dict[str, list[str]]] = {}
        for key, names in (("matched", self.found), ("uniform", self.missing)):
            for name in names:
                group, _, rest = name.partition("/")
                groups.setdefault(group, {"matched": [], "uniform": []})[key].append(rest)
        return groups

    def __str__(self) -> str:
        return f"{len(self.found)} of {len(self.found) + len(self.missing)} logits matched by name"


class Distribution:
    """An immutable distribution over the architectures of a space's groups.

    Args:
        groups: the space's groups.
        form: `factorised` or `joint`.
        logits: shape (size,), float64; default zeros, i.e. uniform.
    """

    def __init__(self, groups: Sequence[Group], form: Form, logits: Vector | None = None) -> None:
        self.groups, self.form = tuple(groups), form
        self.factors = _factors(self.groups, form)
        size = self.factors[-1].part.stop
        self.logits = np.zeros(size) if logits is None else np.array(logits, dtype=np.float64)
        if self.logits.shape != (size,):
            raise UserError(f"logits must have shape ({size},), not {self.logits.shape}.")
        self.logits.setflags(write=False)

    @property
    def size(self) -> int:
        """Number of logits."""
        return len(self.logits)

    def with_logits(self, logits: Vector) -> Distribution:
        """A copy with other logits, shape (size,)."""
        return Distribution(self.groups, self.form, logits)

    @cached_property
    def _log_softmax(self) -> Vector:
        out = np.empty_like(self.logits)
        for factor in self.factors:
            logits = self.logits[factor.part]
            shifted = logits - logits.max()
            out[factor.part] = shifted - np.log(np.exp(shifted).sum())
        return out

    @cached_property
    def _active(self) -> tuple[tuple[tuple[tuple[Factor, int], ...], ...], ...]:
        """Per group and candidate: the active factors with their chosen options."""
        by_group = [[f for f in self.factors if f.group == g] for g in range(len(self.groups))]
        return tuple(
            tuple(
                tuple((f, o) for f, o in zip(factors, row, strict=True) if o != INACTIVE)
                for row in (
                    group.candidates
                    if self.form == "factorised"
                    else ((candidate,) for candidate in range(len(group.candidates)))
                )
            )
            for group, factors in zip(self.groups, by_group, strict=True)
        )

    @cached_property
    def log_probabilities(self) -> tuple[Vector, ...]:
        """Per group the log-probability of each candidate, in nats."""
        known = self._log_softmax
        return tuple(
            np.array([sum(known[f.start + o] for f, o in active) for active in candidates])
            for candidates in self._active
        )

    def log_prob(self, choices: Sequence[int]) -> float:
        """Log-probability of one architecture, in nats."""
        parts = zip(self.log_probabilities, choices, strict=True)
        return float(sum(group[choice] for group, choice in parts))

    def gradient(self, choices: Sequence[int]) -> Vector:
        """Gradient of `log_prob(choices)` with respect to the logits, shape (size,).

        Per categorical it is one-hot minus softmax; zero for an inactive one.
        """
        out = np.zeros_like(self.logits)
        for candidates, choice in zip(self._active, choices, strict=True):
            for factor, option in candidates[choice]:
                out[factor.part] -= np.exp(self._log_softmax[factor.part])
                out[factor.start + option] += 1.0
        return out

    def indicators(self, group: int) -> Vector:
        """1 where a candidate of the group uses a logit's option, else 0: (candidates, size)."""
        out = np.zeros((len(self._active[group]), self.size))
        for candidate, active in enumerate(self._active[group]):
            out[candidate, [factor.start + option for factor, option in active]] = 1.0
        return out

    def entropy(self) -> float:
        """Exact entropy in nats: the sum over the independent groups."""
        return float(-sum((np.exp(group) * group).sum() for group in self.log_probabilities))

    def sample(self, rng: np.random.Generator) -> Choices:
        """Draw one architecture."""
        draws = []
        for group in self.log_probabilities:
            edges = np.exp(group).cumsum()
            draws.append(int(np.searchsorted(edges, rng.random() * edges[-1], side="right")))
        return tuple(draws)

    def to_joint(self) -> Distribution:
        """The joint form with the same probability for every architecture."""
        return Distribution(self.groups, "joint", np.concatenate(self.log_probabilities))

    def to_factorised(self) -> Distribution:
        """The factorised form with the same marginals of every variable, where active.

        It is exact if the joint form factorises.
        """
        fresh = Distribution(self.groups, "factorised")
        weights = np.concatenate(self.log_probabilities)
        taken = np.concatenate([fresh.indicators(g) for g in range(len(self.groups))])
        with np.errstate(divide="ignore"):
            logits = np.logaddexp.reduce(np.log(taken) + weights[:, None], axis=0)
        return fresh.with_logits(logits)

    def as_form(self, form: Form) -> Distribution:
        """Convert to a form; exact to joint, by marginals to factorised."""
        if form == self.form:
            return self
        return self.to_joint() if form == "joint" else self.to_factorised()

    def by_probability(self) -> Iterator[Choices]:
        """Iterate over architectures by decreasing probability; ties in a fixed order.

        Best-first search over the groups' sorted candidates: the n-th result takes n heap pops.
        """
        orders = [np.argsort(-group, kind="stable") for group in self.log_probabilities]
        falls = [g[o][0] - g[o] for g, o in zip(self.log_probabilities, orders, strict=True)]
        # Raising only the last raised group or a later one reaches each tuple of ranks once.
        heap: list[tuple[float, Choices, int]] = [(0.0, (0,) * len(orders), 0)]
        while heap:
            fall, ranks, last = heapq.heappop(heap)
            yield tuple(int(order[rank]) for order, rank in zip(orders, ranks, strict=True))
            for group in range(last, len(orders)):
                rank = ranks[group] + 1
                if rank < len(orders[group]):
                    step = float(falls[group][rank] - falls[group][rank - 1])
                    after = (*ranks[:group], rank, *ranks[group + 1 :])
                    heapq.heappush(heap, (fall + step, after, group))

    def to_json(self) -> dict[str, Any]:
        """JSON values by group, variable and option name, for `write_json` with `SCHEMA`."""
        groups: dict[str, dict[str, dict[str, float]]] = {g.name: {} for g in self.groups}
        for factor in self.factors:
            logits = (float(value) for value in self.logits[factor.part])
            named = dict(zip(factor.options, logits, strict=True))
            groups[self.groups[factor.group].name][factor.variable] = named
        return {"form": self.form, "groups": groups}

    @classmethod
    def from_json(
        cls, content: Mapping[str, Any], groups: Sequence[Group]
    ) -> tuple[Distribution, Matched]:
        """Load a saved distribution into these groups, matching logits by name.

        In a partly matched categorical the matched logits are centred, so that a new option
        starts at their mean.

        Raises:
            UserError: the form is unknown, or the content is malformed.
        """
        form, saved = content.get("form"), content.get("groups")
        if form not in ("factorised", "joint") or not isinstance(saved, Mapping):
            raise UserError(
                f"a distribution has a form (factorised or joint) and groups; found form {form!r}."
            )
        fresh = cls(groups, form)
        logits = np.zeros(fresh.size)
        found: list[str] = []
        missing: list[str] = []
        for factor in fresh.factors:
            name = f"{fresh.groups[factor.group].name}/{factor.variable}"
            options = _options(saved, fresh.groups[factor.group].name, factor.variable)
            known = [options[option] for option in factor.options if option in options]
            centre = float(np.mean(known)) if known else 0.0
            for number, option in enumerate(factor.options):
                if option in options:
                    logits[factor.start + number] = options[option] - centre
                (found if option in options else missing).append(f"{name}={option}")
        taken = set(found)
        unused = tuple(name for name in _names(saved) if name not in taken)
        return fresh.with_logits(logits), Matched(tuple(found), tuple(missing), unused)


def _factors(groups: Sequence[Group], form: Form) -> tuple[Factor, ...]:
    factors: list[Factor] = []
    start = 0
    for number, group in enumerate(groups):
        if form == "joint":
            labels = tuple(group.label(c) for c in range(len(group.candidates)))
            variables = [(CANDIDATE, labels)]
        else:
            variables = [(v.name, tuple(map(str, v.options))) for v in group.variables]
        for name, options in variables:
            factors.append(Factor(number, name, options, start))
            start += len(options)
    return tuple(factors)


def _names(saved: Mapping[str, Any]) -> Iterator[str]:
    """`group/variable=option` of every logit in a file."""
    for group, variables in saved.items():
        for variable in variables if isinstance(variables, Mapping) else ():
            for option in _options(saved, group, variable):
                yield f"{group}/{variable}={option}"


def _options(saved: Mapping[str, Any], group: str, variable: str) -> dict[str, float]:
    """Saved logits of one categorical by option name; empty if absent."""
    variables = saved.get(group, {})
    options = variables.get(variable, {}) if isinstance(variables, Mapping) else None
    if not isinstance(options, Mapping) or not all(
        isinstance(value, int | float) and np.isfinite(value) for value in options.values()
    ):
        raise UserError(f"{group}/{variable}: must map option names to finite logits.")
    return {str(name): float(value) for name, value in options.items()}
