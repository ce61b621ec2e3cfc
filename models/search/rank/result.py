"""The rank stage's output: the ranking, the evidence on it, and the device's own network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from core.artifact import Artifact, Record
from core.files import rounded, write_bytes, write_json
from models.predict.cross_validation import Explained
from models.predict.picture import predictor_png
from models.predict.predictor import SCHEMA as PREDICTOR
from models.predict.ranking import BASELINES, certify
from models.search.candidates import Costs
from models.search.choice import Choice
from models.search.rank.certificate import CertificateRecord
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
    """A ranking, its certificate, and the predictor fitted on the search, if there is one."""

    ranking: Ranking
    certificate: CertificateRecord
    choice: Choice
    predictor: Explained | None

    def write(self, out: Path, choice: Path) -> None:
        """Write the results to the folder `out`, and the choice to its own file."""
        self.ranking.write(out)
        self.certificate.write(out)
        self.choice.write(choice)
        if self.predictor is not None:
            write_json(out / "predictor.json", PREDICTOR, self.predictor.predictor.to_json())
            write_bytes(out / "predictor.png", predictor_png(self.predictor))


def choose(ranked: Sequence[Ranked], indicator: str) -> Choice:
    """The best candidate as the device's own network."""
    return Choice.of(
        ranked[0].candidate.architecture,
        f"the best of {len(ranked)} candidates by {indicator.replace('_', ' ')}",
        ranked[0].scores["supernet_accuracy"],
    )


def empty_certificate(ranked: Sequence[Ranked], params: RankParams) -> CertificateRecord:
    """The certificate without ground truth: `rank` trains no network on its own."""
    scores: dict[str, list[float]] = {name: [] for name in (*ranked[0].scores, *BASELINES)}
    found = certify([], scores, 1, np.random.default_rng(params.seed))
    return CertificateRecord(
        **dict(found),
        statement=found.describe(params.indicator),
        evidence="None: no architecture was trained on its own for this ranking.",
        truth=(),
    )
