"""How well each supernet orders networks: `cd benchmarks/ranking && dvc repro`.

DVC runs and caches the parts of this program: `truth` trains every architecture on its own, twice;
`steps` gives every strategy equal wall time; `scores` trains one supernet and scores the
architectures with it; `report` writes the tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness.flags import ARTIFACTS, flags_of
from benchmarks.harness.markdown import write_sections
from benchmarks.ranking.report import report
from benchmarks.ranking.supernet import score_networks, time_steps
from benchmarks.ranking.truth import HERE, SCHEMA, ground_truth, read_params
from core.files import read_json, write_json
from models.training.strategies import STRATEGIES

DATA, OUT = ARTIFACTS / "data", HERE / "artifacts"


def write(kind: str, name: str, content: Mapping[str, Any]) -> None:
    write_json(OUT / f"{name}.json", f"{SCHEMA}/{kind}/1", dict(content))


def read(kind: str, name: str) -> dict[str, Any]:
    return read_json(OUT / f"{name}.json", f"{SCHEMA}/{kind}/1")


def main() -> None:
    flags, params = _flags(), read_params()
    if flags.part == "truth":
        found = ground_truth(DATA, params, flags.seed, OUT / "runs")
        write("truth", f"truth-{flags.seed}", found)
    elif flags.part == "steps":
        write("steps", "steps", time_steps(DATA, params))
    elif flags.part == "scores":
        timing, rate = read("steps", "steps"), flags.learning_rate or params.learning_rate
        content = score_networks(DATA, params, timing, flags.strategy, rate, flags.times)
        write("scores", f"scores-{flags.name}", content)
    else:
        truths: Sequence[Any] = [read("truth", f"truth-{seed}")["rows"] for seed in (0, 1)]
        runs = [read("scores", f"scores-{name}") for name in flags.names]
        sections = report(truths, runs, params.bootstrap)
        write_sections(OUT / "ranking.md", "How well each supernet orders networks", sections)


def _flags() -> argparse.Namespace:
    parser = flags_of("ranking", __doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("truth").add_argument("--seed", type=int, required=True)
    parts.add_parser("steps")
    scores = parts.add_parser("scores")
    scores.add_argument("--name", required=True, help="of the result")
    scores.add_argument("--strategy", choices=list(STRATEGIES), required=True)
    scores.add_argument("--learning-rate", type=float, help="instead of the params'")
    scores.add_argument("--times", type=float, default=1.0, help="of the wall time of the others")
    parts.add_parser("report").add_argument("names", nargs="+")
    return parser.parse_args()


if __name__ == "__main__":
    main()
