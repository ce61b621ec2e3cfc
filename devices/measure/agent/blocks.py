"""Timing of one block of calls to a session, and detection of disturbances.

The latency of a block is the 10th percentile of its calls. Where other work shares the core (an
SMT sibling, another VM on the host), calls run at one of two speeds that change within
milliseconds: the median depends on the share of slow calls, the 10th percentile does not. On an
idle machine the two differ by 1%, for the model and the reference.

Axes: C channels, H height, W width.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

MIN_BLOCK_NS = 2_000_000
"""Minimum duration of a block; fast models run more calls per block."""
WARM_UP_CALLS = 5
FAST = 0.1
"""Quantile of a block's calls that is its latency."""
LONGEST_WAIT = 0.02
"""A block is disturbed if its thread waited for a core for more than this share of it."""
_FINE_NS = 10_000
_STEAL_FIELD = 8


@dataclass(frozen=True)
class Block:
    """One block of calls, in nanoseconds per call; what the system does not tell is None."""

    wall_ns: float
    cpu_ns: float | None  # CPU clock of the calling thread
    switches: int | None  # involuntary context switches of the thread
    waited: float | None  # share of the block in which the thread waited for a core
    stolen: int | None  # steal ticks of the machine during the block
    accounted: float | None
    """Share of the block in which the thread computed or waited for a core: about 1 unless it slept
    while another thread or a device computed."""

    @property
    def disturbed(self) -> bool:
        """Whether the thread lost the core to other work; False if not known."""
        if self.stolen:
            return True
        if self.waited is None:
            return bool(self.switches)
        return self.waited > LONGEST_WAIT  # short switches to kernel threads do not count


class Scheduler(contextlib.ExitStack):
    """Scheduler counters of the calling thread; a context manager."""

    def __init__(self) -> None:
        super().__init__()
        # Of the opening thread: nanoseconds running, nanoseconds waiting, number of time slices.
        self._waits = self._file("/proc/thread-self/schedstat")
        if self._waits is not None and os.pread(self._waits, 64, 0).startswith(b"0 0 "):
            self._waits = None  # kernel without scheduler statistics
        self._machine = self._file("/proc/stat")
        self.cpu_clock = time.get_clock_info("thread_time").resolution * 1e9 <= _FINE_NS
        self.reading_ns = min(_reading_ns() for _ in range(50)) if self.cpu_clock else 0

    def _file(self, path: str) -> int | None:
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        self.callback(os.close, file)
        return file

    def read(self) -> tuple[int | None, int | None, int | None]:
        """Read involuntary context switches, nanoseconds waiting for a core, steal ticks."""
        switches = waits = steal = None
        if hasattr(resource, "RUSAGE_THREAD"):
            switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        if self._waits is not None:
            waits = int(os.pread(self._waits, 64, 0).split()[1])
        if self._machine is not None:
            line = os.pread(self._machine, 256, 0).partition(b"\n")[0].split()
            steal = int(line[_STEAL_FIELD]) if len(line) > _STEAL_FIELD else None
        return switches, waits, steal


def _reading_ns() -> int:
    """CPU time overhead of reading the clocks around a call."""
    before = time.thread_time_ns()
    time.perf_counter_ns()
    time.perf_counter_ns()
    return time.thread_time_ns() - before


class Runner:
    """Times blocks of at least `calls` calls to a session, on one image (1, C, H, W)."""

    def __init__(self, session: Any, calls: int, scheduler: Scheduler) -> None:
        self.session, self._scheduler = session, scheduler
        rng = np.random.default_rng(0)  # any values without denormals
        self.image_1CHW = rng.normal(size=session.input_shape).astype(np.float32)
        self.calls = WARM_UP_CALLS
        warm_ns = min(self.block().wall_ns for _ in range(2))
        self.calls = max(calls, round(MIN_BLOCK_NS / warm_ns))

    def block(self) -> Block:
        """Run and time one block."""
        before = self._scheduler.read()
        cpu_began, began = time.thread_time_ns(), time.perf_counter_ns()
        calls_N2 = self._timed_calls()
        wall_ns, cpu_ns = time.perf_counter_ns() - began, time.thread_time_ns() - cpu_began
        switches, waited_ns, stolen = (
            None if then is None or now is None else now - then
            for then, now in zip(before, self._scheduler.read())  # noqa: B905 - older Pythons
        )
        wall, cpu = np.sort(calls_N2, axis=0)[int(FAST * (self.calls - 1))]
        fine = self._scheduler.cpu_clock
        return Block(
            wall_ns=float(wall),
            cpu_ns=max(float(cpu) - self._scheduler.reading_ns, 1.0) if fine else None,
            switches=switches,
            waited=None if waited_ns is None else waited_ns / wall_ns,
            stolen=stolen,
            accounted=(cpu_ns + (waited_ns or 0)) / wall_ns if fine else None,
        )

    def _timed_calls(self) -> Any:
        """Nanoseconds (N, 2) of N calls: wall clock, CPU clock of the thread."""
        wall, cpu = time.perf_counter_ns, time.thread_time_ns
        session, image_1CHW = self.session, self.image_1CHW
        times = []
        for _ in range(self.calls):
            cpu_began = cpu()
            began = wall()
            session(image_1CHW)
            ended = wall()
            times.append((ended - began, cpu() - cpu_began))
        return np.array(times, dtype=np.float64)
