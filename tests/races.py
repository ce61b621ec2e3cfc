"""Races whose trainings are a formula, for the tests of what a race decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.search.race.contest import Contest, Proposal
from models.search.race.ledger import Entry, Ledger, Recipe
from models.search.race.race import Listener, Runner
from models.search.race.settings import RaceParams
from models.search.race.store import Store
from models.search.race.training import Finished, Job, Standing
from models.space.architecture import Architecture
from models.space.file import PRESETS
from models.space.space import SearchSpace
from models.training.history import History

SPACE = SearchSpace.load(PRESETS / "compact.yaml", (1, 28, 28), 10)
RECIPE = Recipe(data="data", training="training", steps=16)


def networks(count: int) -> list[Architecture]:
    """Distinct networks of a space."""
    groups = [len(group.candidates) for group in SPACE.groups]
    first = [at for at, size in enumerate(groups) if size > 1][:8]
    rows = [[number >> first.index(at) & 1 if at in first else 0 for at in range(len(groups))]
            for number in range(count)]  # fmt: skip
    return [SPACE.architecture(row) for row in rows]


def contest(
    device: str,
    drawn: Sequence[Architecture],
    controls: Sequence[Architecture] = (),
    preference: Callable[[Architecture], tuple[float, ...]] = lambda _: (0.0,),
) -> Contest:
    """A device's networks, of which some are random ones."""
    proposals = [Proposal(one, "search") for one in drawn]
    proposals += [Proposal(one, "control") for one in controls]
    return Contest(device, tuple(proposals), preference)


def standing(steps: int, nll: float) -> Standing:
    """An evaluation whose accuracy follows from its NLL."""
    return Standing(
        steps=steps, nll=nll, accuracy=round(1 - nll / 4, 6), indicators={"supernet_accuracy": nll}
    )


def entry(architecture: Architecture, *standings: Standing, recipe: Recipe = RECIPE) -> Entry:
    """A training in a ledger."""
    return Entry(
        architecture=architecture,
        architecture_id=architecture.id,
        repeat=0,
        recipe=recipe,
        standings=standings,
        reused=False,
    )


@dataclass
class Formula:
    """Instead of training, every job ends with an NLL by a formula of network, seed and steps.

    Attributes:
        nll: of architecture, repeat and steps.
        backwards: whether the last job finishes first.
        fails_after: jobs after which the process would be killed; None: never.
        jobs: all that were run.
    """

    nll: Callable[[Architecture, int, int], float]
    backwards: bool = False
    fails_after: int | None = None
    jobs: list[Job] = field(default_factory=list)

    def __call__(
        self, jobs: Sequence[Job], listen: Listener | None = None
    ) -> Iterator[tuple[int, Finished]]:
        """See `models.search.race.race.Execute`."""
        numbered = list(enumerate(jobs))
        for number, job in reversed(numbered) if self.backwards else numbered:
            if len(self.jobs) == self.fails_after:
                raise KeyboardInterrupt
            self.jobs.append(job)
            if listen is not None:
                listen(number, job.begin + 1)
            found = standing(job.until, self.nll(job.architecture, job.repeat, job.until))
            named = f"{job.architecture.id}-{job.repeat}-{job.until}".encode()
            yield number, Finished(found, named, named, History(steps=(), epochs=None))

    @property
    def trained(self) -> list[tuple[str, int, int]]:
        """The jobs as (architecture id, repeat, steps)."""
        return [(job.architecture.id, job.repeat, job.until) for job in self.jobs]


USUAL = {"repeats": 0, "controls": 0, "finalists": 2, "rungs": (0.25, 0.5, 1.0)}


def runner(root: Path, execute: Formula, earlier: Ledger | None = None, **params: object) -> Runner:
    """A race in a folder, without repeats where not given."""
    settings = RaceParams.model_validate(USUAL | params)
    store = Store(root / ".race.states", "recipe")
    return Runner(settings, store, execute, RECIPE, earlier, lambda contest, entries: ())
