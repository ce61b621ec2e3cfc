"""Does a latency ratio measured beside other work agree with the same ratio measured alone?

Networks of `compact` in pairs, some models to each reference network, measured as a profile does,
or with `--reported` in several processes each, as what is reported of a bundle: alone, beside one
busy loop per core, and alone again; the mean of the two is what the busy one is held against.
Nothing else should run on the machine meanwhile; four minutes.
"""

from __future__ import annotations

import math
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness.flags import PARAMS, flags_of
from benchmarks.harness.markdown import table, write_sections
from benchmarks.harness.presets import COMPACT, any_device
from benchmarks.harness.release import settings
from devices.latency.networks import draw_networks, write_network
from devices.latency.settings import ProfileParams
from devices.measure.agent.machine import RUNTIMES
from devices.measure.interleaved import PROCESSES, Measurement, Protocol, pool, replicate
from devices.measure.target import LocalTarget, Target

TOLERANCE, SHARE, SLOWER = 0.05, 0.95, 3.0
"""The goal: so near, for so many of the pairs, in at most so many times the time."""
BUSY = ("sh", "-c", "while :; do :; done")
PAIRS, REFERENCES = 20, 4
"""How many networks are measured, and with how many they are compared."""


@dataclass(frozen=True)
class Pass:
    """All pairs measured once, and the seconds that took, with the start of the processes."""

    found: tuple[Measurement, ...]
    seconds: float

    @property
    def ratios(self) -> np.ndarray:
        """The model's time over the reference's, of every pair."""
        return np.array([row.ratio for row in self.found])

    @property
    def undisturbed(self) -> float:
        """Share of the blocks that nothing disturbed."""
        return float(np.mean([row.undisturbed for row in self.found]))


def write_pairs(pairs: int, folder: Path) -> dict[Path, list[Path]]:
    """Draw networks from the smallest to the largest; the models of each reference."""
    rng = np.random.default_rng(0)
    networks = draw_networks(COMPACT.load(), pairs + REFERENCES, rng)
    files = [folder / f"network{number}.onnx" for number in range(len(networks))]
    for network, file in zip(networks, files, strict=True):
        write_network(network, file, seed=0)
    ends = np.linspace(0, len(files) - 1, REFERENCES).round().astype(int).tolist()
    references = [files[number] for number in ends]
    models = [file for file in files if file not in references]
    rng.shuffle(models)
    return {reference: models[k::REFERENCES] for k, reference in enumerate(references)}


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Keep so many cores busy, with processes that end with the block."""
    loops = [subprocess.Popen(BUSY) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def measure_all(
    target: Target,
    pairs: dict[Path, list[Path]],
    protocol: Protocol,
    quick_ms: dict[Path, float],
    reported: bool,
    title: str,
) -> Pass:
    """Measure every model against its reference, in several processes each if `reported`.

    `quick_ms` has each reference's shortest time in an earlier pass, and is updated.
    """
    began, found = time.perf_counter(), list[Measurement]()
    for reference, models in pairs.items():
        known = quick_ms.get(reference)
        alone = [{model.stem: model for model in models}]
        for files in map(replicate, models) if reported else alone:
            measured = target.measure(files, reference, protocol, expected_ms=known)
            found += [pool(measured)] if reported else measured.values()
            took = next(row.reference_ms for row in measured.values())
            known = min(took, known or took)
        quick_ms[reference] = known or math.inf
    done = Pass(tuple(found), time.perf_counter() - began)
    print(f"{title}: {done.seconds:.0f} s, {done.undisturbed:.0%} undisturbed", flush=True)
    return done


def off(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """By which share of itself each ratio differs from another, whichever is the larger."""
    return np.asarray(np.expm1(np.abs(np.log(one / other))))


def judge(quiet: Sequence[Pass], busy: Pass, loops: int) -> str:
    """The result as Markdown: the goal's two numbers, and every pair."""
    first, again = quiet
    alone = np.sqrt(first.ratios * again.ratios)
    seconds = (first.seconds + again.seconds) / 2
    beside = off(busy.ratios, alone)
    within, slower = float((beside <= TOLERANCE).mean()), busy.seconds / seconds
    differences = {
        "alone against alone again": off(first.ratios, again.ratios),
        f"beside {loops} busy loops against alone": beside,
    }
    rows = [
        (what, f"{(one <= TOLERANCE).mean():.0%}", *(f"{x:.1%}" for x in np.quantile(one, _SHARES)))
        for what, one in differences.items()
    ]
    bounds = np.array([[end / row.ms for end in row.interval] for row in busy.found]).T
    bounds = bounds * busy.ratios
    held = ((bounds[0] <= alone) & (alone <= bounds[1])).mean()
    pairs = [
        (f"{at + 1}", f"{a:.3f}", f"{b:.3f}", f"{x:.3f}", f"{low:.3f} to {high:.3f}",
         f"{x / mean - 1:+.1%}", f"{row.blocks}")
        for at, (a, b, x, mean, low, high, row) in enumerate(
            zip(first.ratios, again.ratios, busy.ratios, alone, *bounds, busy.found, strict=True)
        )
    ]  # fmt: skip
    return "\n".join(
        [
            f"- {_verdict(within >= SHARE)}: {within:.0%} of {len(alone)} pairs within "
            f"{TOLERANCE:.0%} of the ratio measured alone (goal {SHARE:.0%}).",
            f"- {_verdict(slower <= SLOWER)}: {slower:.2f} times the time, {busy.seconds:.0f} s "
            f"for {seconds:.0f} s (goal {SLOWER:g} or less).",
            f"- {held:.0%} of the 95% intervals measured beside the loops hold the ratio "
            f"measured alone. Blocks undisturbed: {first.undisturbed:.0%} and "
            f"{again.undisturbed:.0%} alone, {busy.undisturbed:.0%} beside the loops.",
            "",
            table(("the ratio of a pair", f"within {TOLERANCE:.0%}", *_SPREAD), rows),
            "",
            table(_PAIR, pairs),
        ]
    )


_SPREAD, _SHARES = ("median", "95th percentile", "most"), (0.5, 0.95, 1.0)
_PAIR = ("pair", "alone", "alone again", "busy", "95% interval", "differs", "blocks")


def _verdict(met: bool) -> str:
    return "**Met**" if met else "**Missed**"


def main() -> None:
    parser = flags_of("latency_busy", __doc__, "latency-busy.md")
    parser.add_argument("--runtime", choices=sorted(RUNTIMES), default="onnxruntime")
    parser.add_argument("--reported", action="store_true", help="several processes a model")
    parser.add_argument("--params", type=Path, default=PARAMS, help="its `profile`")
    args = parser.parse_args()
    protocol = settings(args.params, "profile", ProfileParams).network_protocol
    target, loops = LocalTarget(args.runtime, any_device(args.runtime)), os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        pairs, quick_ms = write_pairs(PAIRS, Path(folder)), dict[Path, float]()
        measure = partial(measure_all, target, pairs, protocol, quick_ms, args.reported)
        first = measure("alone")
        with busy_loops(loops):
            busy = measure(f"beside {loops} busy loops")
        again = measure("alone again")
    machine = target.machine()
    words = f"--runtime {args.runtime}" + " --reported" * args.reported
    about = (
        f"`python -m benchmarks.latency_busy {words}` on {machine['processor']}, "
        f"{machine['cores']} cores, {machine['runtime']} {machine['runtime_version']}, 1 thread; "
        f"at least {protocol.blocks} blocks of {protocol.calls} calls, intervals of "
        f"{protocol.max_interval:.0%} to either side or {protocol.time_limit_s:g} s a model."
    )
    section = machine["runtime"] + f", {PROCESSES} processes a model" * args.reported
    sections = {section: f"{about}\n\n{judge((first, again), busy, loops)}"}
    write_sections(args.out, "Latency measured beside other work", sections)


if __name__ == "__main__":
    main()
