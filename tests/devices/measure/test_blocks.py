"""Selection of blocks, with synthetic and real blocks."""

import math
import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from devices.measure.agent.blocks import Block, Runner, Scheduler
from devices.measure.agent.protocol import (
    Protocol,
    interval_rank,
    measure_against,
    select_blocks,
    summarise,
)

QUIET = Block(wall_ns=100.0, cpu_ns=100.0, switches=0, waited=0.0, stolen=0, accounted=1.0)
Pair = tuple[Block, Block]


class Worker:
    """A session that computes for some milliseconds, in the calling or another thread."""

    input_shape = (1, 1, 2, 2)

    def __init__(self, loops: int, other_thread: bool = False) -> None:
        self.loops, self.other_thread = loops, other_thread

    def __call__(self, image_1CHW: object) -> None:
        if self.other_thread:
            thread = threading.Thread(target=self._compute)
            thread.start()
            thread.join()
        else:
            self._compute()

    def _compute(self) -> None:
        for _ in range(self.loops):
            math.sqrt(2.0)


def pair(ratio: float, slowed: float = 1.0, waited: float = 0.0) -> Pair:
    """Blocks of a model and its reference at a ratio, on a core slowed by a factor."""
    model, reference = ratio * 100.0 * slowed, 100.0 * slowed
    # A thread that waits for half of a block takes twice as long on the wall clock.
    wall = 1 / (1 - waited)
    return (
        replace(QUIET, wall_ns=model * wall, cpu_ns=model, waited=waited),
        replace(QUIET, wall_ns=reference, cpu_ns=reference),
    )


@pytest.mark.parametrize("count", [6, 7, 9, 15, 40, 100])
def test_the_interval_holds_the_median_with_95_per_cent_and_no_narrower_one_does(
    count: int,
) -> None:
    def outside(rank: int) -> float:
        """Probability that the median is outside the values of a rank (binomial)."""
        return 2 * sum(math.comb(count, heads) for heads in range(rank + 1)) / 2**count

    rank = interval_rank(count)
    assert outside(rank) <= 0.05 < outside(rank + 1)


def test_intervals_of_skewed_draws_hold_their_median_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    rank, draws = interval_rank(15), np.sort(rng.lognormal(0.0, 0.5, (4000, 15)))
    held = (draws[:, rank] <= 1) & (draws[:, -1 - rank] >= 1)
    assert 0.95 <= held.mean() <= 0.985


def test_undisturbed_blocks_count_alone_and_by_the_wall_clock() -> None:
    disturbed = [pair(2.0, waited=0.5)] * 4
    sample = select_blocks([pair(2.0)] * 6 + disturbed, 6, one_thread=True)
    assert len(sample.ns_N2) == 6
    assert sample.undisturbed == 1.0
    assert sample.settled
    assert summarise(sample).ratio == pytest.approx(2.0)


def test_blocks_that_stay_disturbed_are_measured_again_and_then_told_by_the_cpu_clock() -> None:
    disturbed = [pair(2.0, waited=0.5)] * 6
    assert not select_blocks(disturbed, 6, one_thread=True).settled
    sample = select_blocks(disturbed * 2, 6, one_thread=True)
    assert sample.settled
    assert sample.undisturbed == 0.5  # the references
    assert summarise(sample).ratio == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("accounted", "threads"), [(0.5, 1), (None, 1), (1.0, 2)]
)  # sleeps while another thread computes; no CPU clock; two threads
def test_the_cpu_clock_stands_in_only_where_it_knows_of_all_computing(
    accounted: float | None, threads: int
) -> None:
    pairs = [
        tuple(replace(b, accounted=accounted) for b in pair(2.0, waited=0.5)) for _ in range(24)
    ]
    sample = select_blocks(pairs, 6, one_thread=threads == 1)  # type: ignore[arg-type]
    assert summarise(sample).ratio == pytest.approx(4.0)  # the wall clock's


def test_blocks_on_a_slowed_core_do_not_count_where_there_are_quick_ones() -> None:
    # Load on the core slows the model more than the reference.
    slowed = [pair(2.6, slowed=1.4)] * 10
    assert not select_blocks([pair(2.0)] * 4 + slowed, 6, one_thread=True).settled
    sample = select_blocks([pair(2.0)] * 6 + slowed, 6, one_thread=True)
    assert sample.settled
    assert summarise(sample).high == pytest.approx(2.0)


def test_where_nearly_all_blocks_are_slowed_measuring_ends_and_the_interval_says_so() -> None:
    slowed = [pair(2.0 + 0.02 * number, slowed=1.4 + 0.01 * number) for number in range(22)]
    sample = select_blocks([pair(2.0), pair(2.0), *slowed], 6, one_thread=True)
    assert sample.settled
    assert sample.undisturbed == pytest.approx(2 / 6)
    found = summarise(sample)
    assert found.low < found.ratio < found.high


@pytest.mark.parametrize(
    ("change", "disturbed"),
    [
        ({}, False),
        ({"switches": 3}, False),  # without waiting
        ({"switches": 3, "waited": None}, True),
        ({"switches": None, "waited": None, "stolen": None}, False),  # not available
        ({"waited": 0.5}, True),
        ({"stolen": 1}, True),
    ],
)
def test_a_block_is_disturbed_if_the_system_says_so(
    change: dict[str, float | None], disturbed: bool
) -> None:
    assert replace(QUIET, **change).disturbed is disturbed  # type: ignore[arg-type]


def test_a_thread_that_computes_is_accounted_for_and_one_that_sleeps_is_not() -> None:
    with Scheduler() as scheduler:
        here = Runner(Worker(20_000), 5, scheduler).block()
        there = Runner(Worker(20_000, other_thread=True), 5, scheduler).block()
    assert here.accounted == pytest.approx(1.0, abs=0.1)
    assert there.accounted is not None
    assert there.accounted < 0.7


def test_a_session_of_twice_the_work_takes_twice_the_time_beside_busy_loops() -> None:
    loop = [sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(loop) for _ in range(os.cpu_count() or 1)]
    try:
        found = measure_against(Worker(8000), Worker(4000), Protocol(9, 5, time_limit_s=1.0))
    finally:
        for process in loops:
            process.kill()
            process.wait()
    assert found.low <= found.ratio <= found.high
    assert found.ratio == pytest.approx(2.0, rel=0.2)
