"""Which stage may start next: a pure bookkeeping of what waits, runs and is done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pipelines.graph import Graph, Stage

Outcome = Literal["ran", "fresh", "failed", "not started"]


class Schedule:
    """The order of a run over some of a graph's stages.

    A stage starts when those of its upstreams that belong to the run are done, and while fewer
    than `jobs` stages run. `first` stages go before all others. An exclusive stage starts only
    while nothing runs, and nothing starts beside it; unless it is `first`, it lets every other
    stage that is ready go before it, so that no processor idles on its account.

    Args:
        graph: all stages.
        names: those to run.
        jobs: how many may run at once, at least 1.
    """

    def __init__(self, graph: Graph, names: Iterable[str], jobs: int) -> None:
        if jobs < 1:
            raise ValueError(f"--jobs must be at least 1, not {jobs}.")
        wanted = frozenset(names)
        self.jobs = jobs
        self.outcomes: dict[str, Outcome] = {}
        self.running: set[str] = set()
        self._waiting: dict[str, Stage] = {s.name: s for s in graph if s.name in wanted}
        self._upstreams = {name: s.upstreams & wanted for name, s in self._waiting.items()}
        self._meta = {name: s.meta for name, s in self._waiting.items()}

    @property
    def complete(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._waiting and not self.running

    def next(self) -> Stage | None:
        """The stage to start now, or None when none may; it counts as running at once."""
        if len(self.running) >= self.jobs or any(self._meta[n].exclusive for n in self.running):
            return None
        ready = [
            s for s in self._waiting.values() if self._upstreams[s.name] <= self.outcomes.keys()
        ]
        # sorted() is stable: within a class, the graph's own order.
        ready = sorted(ready, key=lambda s: (not s.meta.first, s.meta.exclusive))
        if not ready or (ready[0].meta.exclusive and self.running):
            return None
        stage = self._waiting.pop(ready[0].name)
        self.running.add(stage.name)
        return stage

    def finish(self, name: str, outcome: Outcome) -> None:
        """Record how a running stage ended; what depends on a failed one will not start."""
        self.running.remove(name)
        self.outcomes[name] = outcome
        if outcome != "failed":
            return
        lost = {name}
        for waiting in list(self._waiting):  # upstreams come first
            if self._upstreams[waiting] & lost:
                lost.add(waiting)
                del self._waiting[waiting]
                self.outcomes[waiting] = "not started"

    def states(self, names: Iterable[str]) -> dict[str, str]:
        """How each of these stages stands: its outcome, `running`, `waiting`, or `fresh`."""
        return {
            name: "running"
            if name in self.running
            else "waiting"
            if name in self._waiting
            else self.outcomes.get(name, "fresh")
            for name in names
        }

    def abandon(self) -> None:
        """Start nothing more."""
        for waiting in list(self._waiting):
            del self._waiting[waiting]
            self.outcomes[waiting] = "not started"
