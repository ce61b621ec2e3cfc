"""Work per architecture does not grow with the number of candidates per layer."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar

import numpy as np
import pytest

from models.space.costs import block_flops
from models.space.distribution import Distribution
from models.space.operators import OPERATORS
from models.space.operators.mbconv import MBConv
from models.space.space import SearchSpace
from models.space.spec import SpaceSpec


class Numbered(MBConv):
    """An mbconv with a dummy setting that makes candidates distinct."""

    name = "numbered"
    settings: ClassVar[dict] = {**MBConv.settings, "number": tuple(range(1000))}
    defaults: ClassVar[dict] = {**MBConv.defaults, "kernel": 3, "expansion": 2}


def wide(candidates: int) -> SearchSpace:
    stage = {
        "layers": 4,
        "stride": 1,
        "skip": True,
        "channels": [4, 8],
        "operators": {"numbered": {"number": list(range(candidates))}},
    }
    return SearchSpace(
        SpaceSpec.model_validate(
            {
                "name": f"wide{candidates}",
                "sizes": [8, 64],
                "stem": {
                    "operator": "conv", "channels": 4, "stride": 2, "settings": {"kernel": 3}
                },
                "stages": [stage, stage],
                "head": {"operator": "classifier", "settings": {"width": 16}},
            }
        ),
        (1, 16, 16),
        5,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, "numbered", Numbered())


def steps(action: Callable[[], Any]) -> int:
    """Number of Python lines executed: a deterministic measure of work."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.slow
def test_a_layer_of_a_thousand_candidates_is_right() -> None:
    space = wide(1000)
    assert space.count() == (2 * 1000 * 1001**3) ** 2
    rng = np.random.default_rng(0)
    for _ in range(20):
        architecture = space.sample(rng)
        assert space.architecture(space.choices(architecture)) == architecture
    assert Distribution(space.groups, "joint").size == 2 * (2 + 1000 + 3 * 1001)
    least, most = (space.extreme(block_flops, largest) for largest in (False, True))
    assert sum(map(block_flops, least.present)) < sum(map(block_flops, most.present))
    # Eight layers, but four pairs of widths: equal blocks are one row of a latency table.
    assert len(space.blocks()) == 1 + 1000 * 4 + 2


@pytest.mark.parametrize("what", ["sample", "choices"])
def test_the_work_per_architecture_does_not_grow_with_the_candidates(what: str) -> None:
    def work(candidates: int) -> int:
        space = wide(candidates)
        deep = space.architecture([0] * len(space.groups))
        actions: dict[str, Callable[[], Any]] = {
            "sample": lambda: space.sample(np.random.default_rng(3)),
            "choices": lambda: space.choices(deep),
        }
        return steps(actions[what])

    # Not equal: with ten candidates skips are more frequent, which is less work.
    assert work(1000) <= 1.5 * work(10)
