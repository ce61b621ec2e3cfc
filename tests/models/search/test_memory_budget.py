"""Budgets on peak activation memory, a maximum over blocks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from devices.device import Budget, Device
from devices.latency.budgets import limits, predicted_costs
from devices.latency.device_profile import DeviceProfile
from devices.latency.table import LatencyTable
from models.search.algorithms.fp_nas import FpNas
from models.search.evaluation import Evaluation
from models.search.loop import answer, search
from models.search.problem import problem_of
from models.space.architecture import Architecture
from models.space.costs import Cost, flops, parameters, peak_activation_bytes
from models.space.limits import InfeasibleBudgetError, Limit, require_feasible
from tests.spaces import sample_choices

UNMEASURED = LatencyTable.unmeasured("gpu", "tensorrt")


def device(precision: str = "float32", backend: str = "onnxruntime", **budget: float) -> Device:
    settings = {"backend": backend, "precision": precision, "min_accuracy": 0.5}
    return Device.model_validate(settings | {"budget": budget})


def peaks(world: Any) -> list[int]:
    """The distinct peaks, sorted."""
    choices_NG = sample_choices(world.space, 200, np.random.default_rng(0))
    return sorted({peak_activation_bytes(world.space.architecture(c)) for c in choices_NG.tolist()})


def one(found: tuple[Limit, ...]) -> Limit:
    assert len(found) == 1
    return found[0]


def test_the_least_peak_is_found_exactly_and_named_when_it_is_too_much(world: Any) -> None:
    limit = one(limits(device(memory_mb=1.0), UNMEASURED))
    least = limit.cost(limit.smallest(world.space))
    assert least == pytest.approx(peaks(world)[0] / 1e6)
    require_feasible(world.space, "gpu", limits(device(memory_mb=least), UNMEASURED))
    with pytest.raises(InfeasibleBudgetError, match=rf"needs {least:.4g}\. Raise .*\.memory_mb"):
        require_feasible(world.space, "gpu", limits(device(memory_mb=least * 0.99), UNMEASURED))


def test_memory_is_counted_in_the_precision_searched_in(world: Any) -> None:
    architecture = world.space.architecture([1] * len(world.space.groups))
    bytes_ = peak_activation_bytes(architecture)
    for precision, share in (("float32", 1.0), ("int8", 0.25)):
        here = device(precision, memory_mb=1.0)
        limit = one(limits(here, UNMEASURED))
        assert limit.cost(architecture) == pytest.approx(bytes_ * share / 1e6)
        costs = predicted_costs(here, UNMEASURED)(architecture)
        assert costs["memory_mb"] == pytest.approx(bytes_ * share / 1e6, abs=1e-6)
        assert costs["size_mb"] == pytest.approx(parameters(architecture) * 4 * share / 1e6)
    assert predicted_costs(device(flops=10**9), UNMEASURED)(architecture)["memory_mb"] is None


def test_many_costs_at_once_are_the_costs_of_each(world: Any) -> None:
    table = DeviceProfile.read(world.root / "profile").table
    every = device(latency_ms=0.06, flops=1, parameters=1, size_mb=0.001, memory_mb=0.001)
    choices_NG = sample_choices(world.space, 20, np.random.default_rng(1))
    found = [world.space.architecture(choices) for choices in choices_NG.tolist()]
    kept = limits(every, table)
    assert [limit.key for limit in kept] == [
        "latency_ms", "flops", "parameters", "size_mb", "memory_mb",
    ]  # fmt: skip
    for limit in kept:
        assert limit.cost.table(world.space)(choices_NG).tolist() == [limit.cost(a) for a in found]


def test_fp_nas_keeps_five_budgets_at_once(world: Any, params: Any) -> None:
    table = DeviceProfile.read(world.root / "profile").table
    middle = [world.space.sample(np.random.default_rng(seed)) for seed in range(40)]
    middle.sort(key=flops)
    example = middle[10]
    budget = {
        "latency_ms": table.predict([block.key for block in example.present]),
        "flops": flops(example),
        "parameters": parameters(example),
        "size_mb": parameters(example) * 4e-6,
        "memory_mb": peak_activation_bytes(example) * 1e-6,
    }
    kept = limits(device(**budget), table)
    require_feasible(world.space, "phone", kept)
    searched = FpNas(problem_of(world.space, kept, 64), params("fp_nas", steps=8))

    def evaluate(step: int, found: Sequence[Architecture]) -> list[Evaluation]:
        return [Evaluation(-flops(a) * 1e-6, 0.5) for a in found]

    search(searched, world.space.architecture, evaluate, evaluate)
    for choices in answer(searched):
        architecture = world.space.architecture(choices)
        assert all(limit.excess(architecture) == 0 for limit in kept)


def test_budgets_that_exclude_each_other_say_what_to_raise_to_what(world: Any) -> None:
    least = one(limits(device(memory_mb=1.0), UNMEASURED)).smallest(world.space)
    blocks = len(world.space.layers) + 2
    deep = Limit("shallowness", 0.1, Cost(lambda block: -1.0, constant=blocks + 0.05))
    tight = (*limits(device(flops=flops(least)), UNMEASURED), deep)
    with pytest.raises(InfeasibleBudgetError, match=r"raise devices\.gpu\.budget\.\w+ to [\d.]+"):
        require_feasible(world.space, "gpu", tight)
    assert Budget(memory_mb=0.5).memory_mb == 0.5
