"""The scheduling policy of a run: which stage may start next. It has no side effects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pipelines.graph import Graph, Stage

Outcome = Literal["ran", "fresh", "failed", "not started"]


class Schedule:
    """The order of a run over some of a graph's stages.

    A stage starts when its upstreams among them have ended, and while fewer than `jobs` stages
    run. `first` stages have the highest priority. An exclusive stage runs alone; unless it is
    `first`, it has the lowest priority, so that the cores stay busy.
    """

    def __init__(self, graph: Graph, names: Iterable[str], jobs: int) -> None:
        wanted = frozenset(names)
        self.jobs = jobs
        self.outcomes: dict[str, Outcome] = {}
        self.running: dict[str, Stage] = {}
        self._waiting = {stage.name: stage for stage in graph if stage.name in wanted}
        self._wanted = wanted

    @property
    def complete(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._waiting and not self.running

    def next(self) -> Stage | None:
        """The stage to start now, or None; it counts as running from now on."""
        if len(self.running) >= self.jobs or any(s.meta.exclusive for s in self.running.values()):
            return None
        ready = [
            s for s in self._waiting.values() if s.upstreams & self._wanted <= self.outcomes.keys()
        ]
        # The first of equal ones is returned: within a priority, the order of the graph.
        stage = min(ready, key=lambda s: (not s.meta.first, s.meta.exclusive), default=None)
        if stage is None or (stage.meta.exclusive and self.running):
            return None
        self.running[stage.name] = self._waiting.pop(stage.name)
        return stage

    def finish(self, name: str, outcome: Outcome) -> None:
        """Record the outcome of a running stage; dependents of a failed one are not started."""
        del self.running[name]
        self.outcomes[name] = outcome
        lost = {name} if outcome == "failed" else set[str]()
        for waiting in list(self._waiting.values()):  # upstreams come first
            if waiting.upstreams & lost:
                lost.add(waiting.name)
                self._leave_out(waiting.name)

    def states(self, names: Iterable[str]) -> dict[str, str]:
        """State of each of these stages: its outcome, `running`, `waiting`, or `fresh`."""
        known = (
            dict.fromkeys(self.running, "running")
            | dict.fromkeys(self._waiting, "waiting")
            | self.outcomes
        )
        return {name: known.get(name, "fresh") for name in names}

    def abandon(self) -> None:
        """Start no more stages."""
        for waiting in list(self._waiting):
            self._leave_out(waiting)

    def _leave_out(self, name: str) -> None:
        del self._waiting[name]
        self.outcomes[name] = "not started"
