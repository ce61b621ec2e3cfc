"""Peak tensor memory of a function, from the allocator's events."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

_EVENT = "[memory]"


def peak_bytes(work: Callable[[], object]) -> int:
    """Peak tensor memory of `work` in bytes, beyond what was allocated before.

    Counts all CPU allocations of torch, including those inside operators, but not those of
    libraries (e.g. oneDNN scratch memory). `work` is called twice: first for one-time allocations.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # suppress the warning about a missing GPU
    work()
    with tempfile.TemporaryDirectory() as folder:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as p:
            work()
        trace = Path(folder) / "trace.json"
        p.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = [(e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == _EVENT]
    held = peak = 0
    # A stable sort keeps the order of events with equal timestamps.
    for _, change in sorted(changes, key=lambda row: row[0]):
        held += int(change)
        peak = max(peak, held)
    return peak
