"""A probability distribution over a search space's architectures.

Two forms. FACTORISED (FP-NAS, section 3.2: coarse): in every group an independent categorical per
variable; a candidate's probability is the product over its ACTIVE variables, so variables hidden
by a skip are marginalised. JOINT (fine; the form of PARSEC): one categorical per group over its
candidates. The joint form is implemented as a factorised one with a single variable, `candidate`.
Groups are independent in both forms.

The uniform distribution gives every candidate of a group the same probability in both forms. In the
factorised form an option's logit is then the log of the number of candidates that have it: with
equal logits a skip would take half of a layer's probability instead of one candidate's share.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from core.errors import UserError
from models.space.groups import INACTIVE, Group, single

SCHEMA = "netwright/distribution/1"
CANDIDATE = "candidate"

Form = Literal["factorised", "joint"]
_SAVED = TypeAdapter(dict[str, dict[str, dict[str, FiniteFloat]]])
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
    """Which logits of a saved distribution matched another space by `group/variable=option`."""

    found: tuple[str, ...]
    missing: tuple[str, ...]
    """Logits of the new space that the file lacks."""
    unused: tuple[str, ...] = ()
    """Logits of the file that the new space lacks."""

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

    Without logits, shape (size,), it is uniform over every group's candidates.
    """

    def __init__(self, groups: Sequence[Group], form: Form, logits: Vector | None = None) -> None:
        self.groups, self.form = tuple(groups), form
        self._parts = self.groups if form == "factorised" else tuple(map(_joint, groups))
        self.factors: list[Factor] = []
        size = 0
        for number, group in enumerate(self._parts):
            for variable in group.variables:
                names = tuple(map(str, variable.options))
                self.factors.append(Factor(number, variable.name, names, size))
                size += len(names)
        given = self._uniform_logits(size) if logits is None else logits
        self.logits = np.array(given, dtype=np.float64)
        self.logits.setflags(write=False)

    def _uniform_logits(self, size: int) -> Vector:
        """Per option the log of the number of candidates that have it; its mean per factor is 0."""
        counts = np.zeros(size)
        for candidates in self._active:
            for active in candidates:
                for factor, option in active:
                    counts[factor.start + option] += 1.0
        logits = np.log(counts)
        for factor in self.factors:
            logits[factor.part] -= logits[factor.part].mean()
        return logits

    @property
    def size(self) -> int:
        """Number of logits."""
        return len(self.logits)

    def with_logits(self, logits: Vector) -> Distribution:
        """A copy with other logits, shape (size,)."""
        return Distribution(self.groups, self.form, logits)

    def sharpened(self, share: float) -> Distribution:
        """A copy between the uniform distribution (`share` 0) and this one (1), in its logits."""
        flat = Distribution(self.groups, self.form).logits
        return self.with_logits(flat + share * (self.logits - flat))

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
        by_group = [tuple(same) for _, same in groupby(self.factors, key=lambda f: f.group)]
        return tuple(
            tuple(
                tuple((f, o) for f, o in zip(factors, row, strict=True) if o != INACTIVE)
                for row in group.candidates
            )
            for group, factors in zip(self._parts, by_group, strict=True)
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
        logits = np.full(fresh.size, -np.inf)
        for candidates, weights in zip(fresh._active, self.log_probabilities, strict=True):
            for active, weight in zip(candidates, weights, strict=True):
                for factor, option in active:
                    at = factor.start + option
                    logits[at] = np.logaddexp(logits[at], weight)
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

        A categorical without a match is uniform. In a partly matched one the mean of the matched
        logits is that of the uniform distribution, so that a new option starts in their middle.

        Raises:
            UserError: the form is unknown, or the content is malformed.
        """
        form: Form | None = content.get("form")
        if form is None or form not in get_args(Form):
            raise UserError(f"a distribution's form is factorised or joint; found {form!r}.")
        try:
            groups_saved = _SAVED.validate_python(content.get("groups"), strict=True)
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"]))
            raise UserError(f"a distribution maps options to finite logits: {place!r}.") from error
        saved = {
            f"{group}/{variable}={option}": logit
            for group, variables in groups_saved.items()
            for variable, options in variables.items()
            for option, logit in options.items()
        }
        fresh = cls(groups, form)
        logits, wanted = fresh.logits.copy(), dict[str, None]()
        for factor in fresh.factors:
            place = f"{fresh.groups[factor.group].name}/{factor.variable}"
            flat = {
                f"{place}={option}": float(logit)
                for option, logit in zip(factor.options, fresh.logits[factor.part], strict=True)
            }
            shifts = [saved[name] - flat[name] for name in flat if name in saved]
            shift = float(np.mean(shifts)) if shifts else 0.0
            logits[factor.part] = [
                saved[name] - shift if name in saved else flat[name] for name in flat
            ]
            wanted |= dict.fromkeys(flat)
        found = tuple(name for name in wanted if name in saved)
        missing = tuple(name for name in wanted if name not in saved)
        unused = tuple(name for name in saved if name not in wanted)
        return fresh.with_logits(logits), Matched(found, missing, unused)


def _joint(group: Group) -> Group:
    """The group with its candidates as options of a single variable."""
    labels = tuple(group.label(number) for number in range(len(group.candidates)))
    return single(group.name, CANDIDATE, labels)
