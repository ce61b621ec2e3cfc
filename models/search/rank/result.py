"""The rank stage's output: the ranking of a search's candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from core.artifact import Artifact, Record
from core.files import rounded, write_bytes, write_json
from models.predict.cross_validation import Explained
from models.predict.picture import predictor_png
from models.predict.predictor import SCHEMA as PREDICTOR
from models.search.candidates import Costs
from models.search.rank.scores import Ranked
from models.search.rank.settings import RankParams
from models.space.architecture import ArchitectureJson


class Chosen(Record):
    """The best candidate."""

    architecture: ArchitectureJson
    architecture_id: str


class RankedNetwork(Record):
    """A candidate with its scores."""

    architecture_id: str
    short: str
    scores: dict[str, float | None]
    """By indicator; higher is better."""
    costs: Costs


class Ranking(Artifact):
    """A search's candidates, best first."""

    SCHEMA: ClassVar[str] = "netwright/ranked/1"
    FILE: ClassVar[str] = "ranking.json"

    chosen: Chosen
    indicator: str
    aggregate: tuple[str, ...]
    ranked: tuple[RankedNetwork, ...]

    @classmethod
    def of(cls, ranked: Sequence[Ranked], params: RankParams) -> Ranking:
        """The ranking of scored candidates, best first."""
        best = ranked[0].candidate.architecture
        return cls(
            chosen=Chosen(architecture=best, architecture_id=best.id),
            indicator=params.indicator,
            aggregate=params.aggregate,
            ranked=tuple(
                RankedNetwork(
                    architecture_id=one.candidate.architecture.id,
                    short=one.candidate.architecture.short(),
                    scores={name: rounded(score) for name, score in one.scores.items()},
                    costs=one.candidate.costs,
                )
                for one in ranked
            ),
        )


@dataclass(frozen=True)
class RankResult:
    """A ranking, and the predictor fitted on the search, if there is one."""

    ranking: Ranking
    predictor: Explained | None

    def write(self, out: Path) -> None:
        """Write the results to the folder `out`."""
        self.ranking.write(out)
        if self.predictor is not None:
            write_json(out / "predictor.json", PREDICTOR, self.predictor.predictor.to_json())
            write_bytes(out / "predictor.png", predictor_png(self.predictor))
