"""What the ends of a device's search space need of its budgets, as `netwright doctor` shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from devices.device import Device
from models.architecture import Architecture, Block
from models.costs import block_flops, block_parameters, flops, parameters
from models.space import SearchSpace
from pipelines.preflight import Setting, check_budget, check_device, ends_of, problem_of
from stages.common.budgets import predict_ms, search_precision
from stages.common.device_space import device_space

LATENCY = ("latency_ms", "latency_share")
Costs = tuple[Callable[[Block], int], Callable[[Architecture], int]]
_BY_SHAPE: dict[str, Costs] = {
    "flops": (block_flops, flops),
    "parameters": (block_parameters, parameters),
}


@dataclass(frozen=True)
class Ends:
    """A budget beside the least and the most that a network of the space costs.

    Attributes:
        key: the budget's, such as `latency_share`; the numbers are in its unit.
        allowed: the budget.
        least: what the smallest network needs; None where that cannot be known here.
        most: what the largest needs, likewise.
        interval: 95% confidence interval of `least`, where it was measured for this.
        largest_ms: of a share: milliseconds of the whole.
        bound: whether a smaller network than `least` is possible.
    """

    key: str
    allowed: float
    least: float | None = None
    most: float | None = None
    interval: tuple[float, float] | None = None
    largest_ms: float | None = None
    bound: bool = False

    @property
    def loose(self) -> bool:
        """Whether even the largest network keeps the budget."""
        return self.most is not None and self.most <= self.allowed

    def words(self) -> tuple[str, str, str]:
        """The budget, the least and the most, for people."""
        return self._amount(self.allowed), self._least(), self._of_budget(self.most)

    def remark(self, name: str) -> str:
        """What to say of a budget that is `loose`."""
        assert self.most is not None
        return (
            f"'{name}': the budget of {self.key} {_plain(self.allowed)} excludes no network; the "
            f"largest takes {self.most / self.allowed:.0%} of it."
        )

    def _least(self) -> str:
        text = self._of_budget(self.least)
        if self.interval is not None:
            low, high = self.interval
            text += f", 95% interval {low / self.allowed:.0%} to {high / self.allowed:.0%}"
        return f"at most {text}" if self.bound else text

    def _of_budget(self, cost: float | None) -> str:
        if cost is None:
            return "unknown here"
        return f"{self._amount(cost)} ({cost / self.allowed:.0%})"

    def _amount(self, cost: float) -> str:
        if self.largest_ms is None:
            return _plain(cost)
        return f"{_plain(cost)} = {cost * self.largest_ms:.4g} ms"


def budgets_of(name: str, device: Device, setting: Setting) -> tuple[list[Ends], list[str]]:
    """A device's budgets beside its space's ends, and what is wrong with them.

    Both go by the same measurement, where one is needed. No budgets come back for a device whose
    settings are wrong, which is reported elsewhere.
    """
    if problem_of(check_device, device):
        return [], []
    wrong = problem_of(check_budget, name, device, setting)
    if problem_of(device_space, setting.space, name, device):
        return [], wrong
    budget = {k: v for k, v in device.budget.model_dump().items() if v is not None}
    return [_ends(key, value, name, device, setting) for key, value in budget.items()], wrong


def _ends(key: str, allowed: float, name: str, device: Device, setting: Setting) -> Ends:
    """The ends by one budget's key.

    A bundle's size is weighed when it is there, and memory is checked exactly, by the space.
    """
    space = device_space(setting.space, name, device).space
    if key in LATENCY:
        return _latency(key, allowed, space, name, device, setting)
    if key not in _BY_SHAPE:
        return Ends(key, allowed)
    of_block, of_network = _BY_SHAPE[key]
    least, most = (of_network(space.extreme(of_block, largest=end)) for end in (False, True))
    return Ends(key, allowed, least, most)


def _latency(
    key: str, allowed: float, space: SearchSpace, name: str, device: Device, setting: Setting
) -> Ends:
    """The ends by latency: of the device's table, or measured now."""
    table, share = setting.tables.get(name), key == "latency_share"
    if table is not None and table.measured:
        precision = search_precision(device)
        fastest = space.extreme(lambda block: table.block_cost(block.key, precision))
        least, most = predict_ms(table, fastest, precision), table.largest_ms
        bound = not table.additive(precision)
        if not share:
            return Ends(key, allowed, least, most, bound=bound)
        if most is None:
            return Ends(key, allowed)
        return Ends(key, allowed, least / most, 1.0, largest_ms=most, bound=bound)
    measured = ends_of(name, device, setting)
    if measured is None:
        return Ends(key, allowed)
    least, interval = measured.least(key)
    most = 1.0 if share else measured.largest_ms
    return Ends(key, allowed, least, most, interval, measured.largest_ms if share else None)


def _plain(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
