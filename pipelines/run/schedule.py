"""The scheduling policy of a run: which stage may start next. It has no side effects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pipelines.graph import Graph, Stage

Outcome = Literal["ran", "fresh", "failed", "not started"]


class Schedule:
    """The order of a run over a subset of a graph's stages.

    A stage starts when its upstreams in the subset have ended, and while fewer than `jobs` stages
    run. `first` stages have the highest priority. An exclusive stage runs alone; unless it is
    `first`, it has the lowest priority, so that the cores stay busy.

    Args:
        graph: all stages.
        names: the stages to run.
        jobs: largest number of parallel stages, at least 1.
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
        """The stage to start now, or None; it counts as running from now on."""
        if len(self.running) >= self.jobs or any(self._meta[n].exclusive for n in self.running):
            return None
        ready = [
            s for s in self._waiting.values() if self._upstreams[s.name] <= self.outcomes.keys()
        ]
        # sorted() is stable: within a priority, the order of the graph.
        ready = sorted(ready, key=lambda s: (not s.meta.first, s.meta.exclusive))
        if not ready or (ready[0].meta.exclusive and self.running):
            return None
        stage = self._waiting.pop(ready[0].name)
        self.running.add(stage.name)
        return stage

    def finish(self, name: str, outcome: Outcome) -> None:
        """Record the outcome of a running stage; dependents of a failed one are not started."""
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
        """State of each of these stages: its outcome, `running`, `waiting`, or `fresh`."""
        return {
            name: "running"
            if name in self.running
            else "waiting"
            if name in self._waiting
            else self.outcomes.get(name, "fresh")
            for name in names
        }

    def abandon(self) -> None:
        """Start no more stages."""
        for waiting in list(self._waiting):
            del self._waiting[waiting]
            self.outcomes[waiting] = "not started"
