"""Command-line flags that benchmarks share."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from models.space.file import PRESETS

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "artifacts"
PARAMS = ROOT / "params.yaml"


def flags_of(name: str, doc: str | None, page: str | None = None) -> argparse.ArgumentParser:
    """A parser for `python -m benchmarks.NAME`, with `--out` if it has a page in docs/results."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if page is not None:
        out = ROOT / "docs" / "results" / page
        parser.add_argument("--out", type=Path, default=out, help="page whose sections to replace")
    return parser


def add_artifacts(parser: argparse.ArgumentParser) -> None:
    """`--artifacts`."""
    parser.add_argument("--artifacts", type=Path, default=ARTIFACTS, help="of a finished release")


def add_release(parser: argparse.ArgumentParser, device: str) -> None:
    """Flags that `Release.open` reads, and `--work`."""
    space = ROOT / "models" / "spaces" / "compact.yaml"
    add_artifacts(parser)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--space", type=Path, default=space)
    parser.add_argument("--device", default=device, help="whose network, budget and profile")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="folder of finished runs")


def space_file(name: str) -> Path:
    """The file of a space: a preset's name, or a YAML file."""
    return Path(name) if name.endswith((".yaml", ".yml")) else PRESETS / f"{name}.yaml"


def words(text: str) -> list[str]:
    """Words separated by commas."""
    return text.split(",")


def require_known(parser: argparse.ArgumentParser, names: Sequence[str], of: Iterable[str]) -> None:
    """End with an error if a name is unknown."""
    unknown = sorted(set(names) - set(of))
    if unknown:
        parser.error(f"{', '.join(unknown)}: not one of {', '.join(of)}")
