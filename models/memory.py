"""How much memory a piece of work needs, counted by the allocator and not estimated."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

_EVENT = "[memory]"


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory for tensors that `work` holds at once, beyond what was there before it.

    Every allocation and release on the processor is counted in bytes, also those inside operators;
    what libraries allocate on their own (oneDNN's scratch space) is not.

    Args:
        work: called twice; the first call pays for what is allocated once.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or the profiler reports that there is no GPU
    work()
    with tempfile.TemporaryDirectory() as folder:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as p:
            work()
        trace = Path(folder) / "trace.json"
        p.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = [(e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == _EVENT]
    held = peak = 0
    # The trace keeps the order of events of one instant; a stable sort keeps it too.
    for _, change in sorted(changes, key=lambda row: row[0]):
        held += int(change)
        peak = max(peak, held)
    return peak
