"""What a running job reports to the process that started it: sparse numbers or texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Value = float | str

INTERVAL_S = 1.0
"""Least seconds between two reports of a job; those between are dropped."""


class _Channel:
    """Where the job of this process reports; nowhere outside an executor's worker."""

    def __init__(self) -> None:
        self.send: Callable[[Value], None] | None = None
        self.sent_s = -INTERVAL_S


_channel = _Channel()


def report(value: Value) -> None:
    """Report how far the running job is, such as its finished steps; call it as often as liked.

    No effect outside an executor's worker.
    """
    now = time.monotonic()
    if _channel.send is not None and now - _channel.sent_s >= INTERVAL_S:
        _channel.sent_s = now
        _channel.send(value)


@contextmanager
def reporting(send: Callable[[Value], None]) -> Iterator[None]:
    """Within the block, `report` calls `send`."""
    _channel.send, _channel.sent_s = send, -INTERVAL_S
    try:
        yield
    finally:
        _channel.send = None
