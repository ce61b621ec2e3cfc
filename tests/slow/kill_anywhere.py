"""Kill runs of the whole graph on `digits` by SIGKILL; check that they resume to the same hashes.

    python -m tests.slow.kill_anywhere --kills 100 --seed 0 --folder /tmp/kills

A round is one run, killed at random times and restarted until it ends by itself; rounds repeat
until there were enough kills. A stage with the same inputs as in the reference, an uninterrupted
run, must have the same outputs, unless it measures time. Every second round starts from the
reference's latency tables, so that the stages downstream of them are compared too. The first
failure ends the test with exit code 1, and leaves the folder unchanged.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.support import Repository, copy_repository, kill_tree, on_digits

MEASURING = ("profile", "quantize", "export", "bundle", "release")
ALWAYS = ("fetch", "prepare", "supernet", "teacher")
"""Stages that depend on no measurement: they are compared in every round."""
PER_ROUND = 8
"""Approximate kills per round: the mean time to a kill is the time of a whole run over this."""
LONGEST_S = 3600.0


class LostError(Exception):
    """A run did not resume, or not to the same hashes."""


@dataclass
class Count:
    """Counts of the test."""

    kills: int = 0
    rounds: int = 0
    torn: int = 0
    compared: int = 0


def main() -> int:
    """Parse the flags, run the test, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    flags = parser.parse_args()
    count = Count()
    try:
        kill_anywhere(flags.folder, flags.kills, random.Random(flags.seed), count)
    except LostError as error:
        print_count(count)
        print(f"error: {error}\nThe repositories are in {flags.folder}.", file=sys.stderr)
        return 1
    shutil.rmtree(flags.folder)
    print_count(count)
    return 0


def kill_anywhere(folder: Path, kills: int, rng: random.Random, count: Count) -> None:
    """Run the reference, then rounds of killed runs until there were enough kills.

    Raises:
        LostError: at the first failure.
    """
    reference = on_digits(copy_repository(folder / "reference"))
    began = time.monotonic()
    code, output = reference.netwright("run", "--jobs", "2", timeout=LONGEST_S)
    if code != 0:
        raise LostError(f"the reference itself fails:\n{output}")
    whole_s = time.monotonic() - began
    print(f"reference: {len(reference.locked)} stages in {whole_s:.0f} s", flush=True)
    while count.kills < kills:
        count.rounds += 1
        repository = on_digits(copy_repository(folder / f"round-{count.rounds}"))
        if count.rounds % 2 == 0:
            start_from_its_tables(reference, repository)
        left = kills - count.kills
        killed_run(repository, rng, 2 * whole_s / PER_ROUND, left, count)
        compare(reference.locked, repository.locked, count)
        shutil.rmtree(repository.root)


def killed_run(
    repository: Repository, rng: random.Random, longest_s: float, kills: int, count: Count
) -> None:
    """Run, kill and restart until a run ends by itself; the last one is not killed."""
    for _ in range(kills):
        child = repository.start("-m", "pipelines", "run", "--jobs", "2")
        delay = rng.uniform(0, longest_s)
        try:
            output, _ = child.communicate(timeout=delay)
        except subprocess.TimeoutExpired:
            kill_tree(child.pid)
            output, _ = child.communicate()
            count.kills += 1
            note(repository, output, count)
            done = len(repository.locked) if whole(repository) else "?"
            print(
                f"kill {count.kills}: round {count.rounds}, after {delay:.1f} s, {done} done",
                flush=True,
            )
            continue
        note(repository, output, count)
        if child.returncode != 0:
            raise LostError(f"{repository.root} does not resume:\n{output}")
        return
    code, output = repository.netwright("run", "--jobs", "2", timeout=LONGEST_S)
    note(repository, output, count)
    if code != 0:
        raise LostError(f"{repository.root} does not resume:\n{output}")


def note(repository: Repository, output: str, count: Count) -> None:
    """Count the truncated lock files that were repaired."""
    count.torn += "was truncated" in output
    if "Traceback" in output:
        raise LostError(f"{repository.root} shows a traceback:\n{output}")


def whole(repository: Repository) -> bool:
    """Whether there is a readable dvc.lock."""
    try:
        return bool(repository.locked)
    except Exception:  # noqa: BLE001 - a truncated file raises various exceptions
        return False


def compare(reference: Mapping[str, Any], found: Mapping[str, Any], count: Count) -> None:
    """Compare the outputs of the stages that had the same inputs.

    Raises:
        LostError: one differs, or a stage is missing.
    """
    if reference.keys() != found.keys():
        raise LostError(f"other stages have run: {sorted(reference.keys() ^ found.keys())}")
    for name, expected in reference.items():
        kind, inputs = name.partition("@")[0], ("cmd", "deps", "params")
        same = all(expected.get(key) == found[name].get(key) for key in inputs)
        if kind in ALWAYS and not same:
            raise LostError(f"{name} had other inputs than the reference: {found[name]}")
        if kind in MEASURING or not same:
            continue
        if expected["outs"] != found[name]["outs"]:
            raise LostError(f"{name} has other outputs: {expected['outs']}, {found[name]['outs']}")
        count.compared += 1


def start_from_its_tables(source: Repository, target: Repository) -> None:
    """Copy the measured tables to `target`, as `dvc pull` would: lock entries, files, cache."""
    target.lock({name: row for name, row in source.locked.items() if name.startswith("profile@")})
    shutil.copytree(source.root / "artifacts/profile", target.root / "artifacts/profile")
    cache = Path(".dvc/cache/files")  # without `runs`, the run cache, so that stages run
    shutil.copytree(source.root / cache, target.root / cache)


def print_count(count: Count) -> None:
    """Print the counts."""
    table = Table(title="SIGKILL at random times")
    for heading in ("kills", "rounds", "truncated records repaired", "outputs compared"):
        table.add_column(heading, justify="right")
    table.add_row(*map(str, (count.kills, count.rounds, count.torn, count.compared)))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
