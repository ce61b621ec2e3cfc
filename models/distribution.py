"""A probability distribution over a search space's architectures.

Two forms, one class. FACTORISED (FP-NAS, section 3.2: coarse): in every group an independent
categorical per variable; a candidate's probability is the product over its ACTIVE variables, so
what a skip hides is summed out. JOINT (fine; PARSEC's only form): one categorical per group over
its candidates. The joint form is the factorised one with a single variable, `candidate`, so
everything below is written once. Groups are independent in both forms.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from models.space import INACTIVE, Group

SCHEMA = "netwright/distribution/1"
CANDIDATE = "candidate"

Form = Literal["factorised", "joint"]
Vector = npt.NDArray[np.float64]
Choices = tuple[int, ...]
"""One candidate's index per group: an architecture as its space numbers it."""


class DistributionError(ValueError):
    """Content that is not a distribution; the message names the part and the rule."""


@dataclass(frozen=True)
class Factor:
    """One categorical variable: `options[i]` has the logit number `start + i`."""

    group: int
    variable: str
    options: tuple[str, ...]
    start: int

    @property
    def part(self) -> slice:
        """Where its logits stand in the vector of all logits."""
        return slice(self.start, self.start + len(self.options))


@dataclass(frozen=True)
class Matched:
    """How much of a saved distribution fitted another space, by names.

    Attributes:
        found: `group/variable=option` of every logit that was taken over.
        missing: the same for every logit of the new space that the file did not know.
        unused: the same for every logit of the file that the new space does not have.
    """

    found: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...] = ()

    def by_group(self) -> dict[str, dict[str, list[str]]]:
        """For each group of the new space, what matched and what starts as if uniform."""
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
        logits: shape (size,), float64; zeros (every categorical uniform) when left out.
    """

    def __init__(self, groups: Sequence[Group], form: Form, logits: Vector | None = None) -> None:
        self.groups, self.form = tuple(groups), form
        self.factors = _factors(self.groups, form)
        size = self.factors[-1].part.stop
        self.logits = np.zeros(size) if logits is None else np.array(logits, dtype=np.float64)
        if self.logits.shape != (size,):
            raise DistributionError(f"{size} logits are needed, not {self.logits.shape}.")
        self.logits.setflags(write=False)

    @property
    def size(self) -> int:
        """How many logits there are."""
        return len(self.logits)

    def with_logits(self, logits: Vector) -> Distribution:
        """The same categoricals with other logits, shape (size,)."""
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
        """Per group and candidate: the active factors, each with the chosen option."""
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
        """Per group the log-probability of each of its candidates, in nats."""
        known = self._log_softmax
        return tuple(
            np.array([sum(known[f.start + o] for f, o in active) for active in candidates])
            for candidates in self._active
        )

    def log_prob(self, choices: Sequence[int]) -> float:
        """The log-probability of one architecture, in nats."""
        parts = zip(self.log_probabilities, choices, strict=True)
        return float(sum(group[choice] for group, choice in parts))

    def gradient(self, choices: Sequence[int]) -> Vector:
        """The gradient of `log_prob(choices)` with respect to the logits, shape (size,).

        A categorical's share is one-hot minus softmax; that of an inactive one is zero.
        """
        out = np.zeros_like(self.logits)
        for candidates, choice in zip(self._active, choices, strict=True):
            for factor, option in candidates[choice]:
                out[factor.part] -= np.exp(self._log_softmax[factor.part])
                out[factor.start + option] += 1.0
        return out

    def indicators(self, group: int) -> Vector:
        """1 where a candidate of the group takes a logit's option, else 0: (candidates, size)."""
        out = np.zeros((len(self._active[group]), self.size))
        for candidate, active in enumerate(self._active[group]):
            out[candidate, [factor.start + option for factor, option in active]] = 1.0
        return out

    def entropy(self) -> float:
        """The entropy over architectures in nats, exact: groups are independent, so it adds up."""
        return float(-sum((np.exp(group) * group).sum() for group in self.log_probabilities))

    def sample(self, rng: np.random.Generator) -> Choices:
        """One architecture drawn from the distribution."""
        draws = []
        for group in self.log_probabilities:
            edges = np.exp(group).cumsum()
            draws.append(int(np.searchsorted(edges, rng.random() * edges[-1], side="right")))
        return tuple(draws)

    def to_joint(self) -> Distribution:
        """The joint form in which every architecture keeps its probability."""
        return Distribution(self.groups, "joint", np.concatenate(self.log_probabilities))

    def to_factorised(self) -> Distribution:
        """The factorised form whose variables have this one's probabilities, where active.

        A joint form that is a product of its variables keeps every architecture's probability.
        """
        fresh = Distribution(self.groups, "factorised")
        weights = np.concatenate(self.log_probabilities)
        taken = np.concatenate([fresh.indicators(g) for g in range(len(self.groups))])
        with np.errstate(divide="ignore"):
            logits = np.logaddexp.reduce(np.log(taken) + weights[:, None], axis=0)
        return fresh.with_logits(logits)

    def as_form(self, form: Form) -> Distribution:
        """This distribution, or its nearest in the other form."""
        if form == self.form:
            return self
        return self.to_joint() if form == "joint" else self.to_factorised()

    def by_probability(self) -> Iterator[Choices]:
        """Every architecture, from the most probable on; ties in a fixed order.

        Best-first over the groups' sorted candidates: the n-th costs n pops of a heap, so the
        first thousands of a huge space are cheap.
        """
        orders = [np.argsort(-group, kind="stable") for group in self.log_probabilities]
        falls = [g[o][0] - g[o] for g, o in zip(self.log_probabilities, orders, strict=True)]
        # Each tuple of ranks is reached from exactly one other: by raising its last raised group.
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
        """Plain values by group, variable and option NAME, for `write_json` with `SCHEMA`."""
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
        """A saved distribution for these groups, and what of it matched by name.

        In a categorical that matches in part, the matched logits keep their differences and are
        centred, so that an unknown option starts at their average.

        Raises:
            DistributionError: the form is unknown, or the content is not names and numbers.
        """
        form, saved = content.get("form"), content.get("groups")
        if form not in ("factorised", "joint") or not isinstance(saved, Mapping):
            raise DistributionError(
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
    """`group/variable=option` of every logit of a file."""
    for group, variables in saved.items():
        for variable in variables if isinstance(variables, Mapping) else ():
            for option in _options(saved, group, variable):
                yield f"{group}/{variable}={option}"


def _options(saved: Mapping[str, Any], group: str, variable: str) -> dict[str, float]:
    """The saved logits of one categorical by option name; empty where the file has none."""
    variables = saved.get(group, {})
    options = variables.get(variable, {}) if isinstance(variables, Mapping) else None
    if not isinstance(options, Mapping) or not all(
        isinstance(value, int | float) and np.isfinite(value) for value in options.values()
    ):
        raise DistributionError(f"{group}/{variable}: option names with finite logits are needed.")
    return {str(name): float(value) for name, value in options.items()}
