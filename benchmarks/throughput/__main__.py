"""Is one training per core faster than one training after the other with a thread per core?

Trainings of networks of `compact` with equal steps, as jobs of the executor `local`: as many at
once as there are cores with one thread each, and one at a time with as many threads. Both arms run
in every repetition, in alternating order. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from benchmarks.harness.compare import Difference, spread_of
from benchmarks.harness.flags import flags_of
from benchmarks.harness.markdown import table, write_sections
from benchmarks.harness.presets import COMPACT, TORCH
from benchmarks.throughput.training import Span, Training, open_stream, run_training
from core.executors import create_executor
from core.executors.local import LocalSettings
from core.system import core_count
from devices.latency.networks import draw_networks
from models.space.architecture import Architecture
from models.space.costs import flops


def per_hour(spans: Sequence[Span]) -> float:
    """Trainings per hour from the first step of the first to the last step of the last."""
    began, ended = min(s.began_s for s in spans), max(s.ended_s for s in spans)
    return 3600 * len(spans) / (ended - began)


def run_arm(at_once: int, threads: int, jobs: Sequence[Training], batch: int) -> float:
    """Trainings per hour of one arm."""
    executor = create_executor(LocalSettings(workers=at_once), threads, seed=0)
    outcomes = executor.run(run_training, partial(open_stream, batch), jobs)
    return per_hour([span for _, span in outcomes])


def measure(architecture: Architecture, cores: int, args: argparse.Namespace) -> list[list[float]]:
    """Trainings per hour of both arms (parallel, serial), a row per repetition."""
    jobs = [Training(architecture, seed, args.steps) for seed in range(cores * args.trainings)]
    arms = [(cores, 1), (1, cores)]
    rows = []
    for repetition in range(args.repetitions):
        found = {arm: run_arm(*arm, jobs, args.batch) for arm in arms[:: (-1) ** repetition]}
        rows.append([found[arm] for arm in arms])
        print(f"{flops(architecture):,} MACs: {rows[-1]} per hour", flush=True)
    return rows


def page(found: Mapping[int, Sequence[Sequence[float]]], cores: int) -> str:
    """The result by the networks' MACs: trainings per hour, and the ratio with its interval."""
    rows = []
    for macs, runs in found.items():
        parallel, serial = np.log(np.array(runs)).T.tolist()
        ratio = Difference.of(parallel, serial)
        low, high = (math.exp(end) for end in ratio.interval())
        shown = [spread_of([math.exp(x) for x in arm], 1) for arm in (parallel, serial)]
        interval = f"{low:.2f} to {high:.2f}" if ratio.seeds > 1 else "-"
        faster = {"better": "faster", "worse": "slower"}.get(ratio.verdict, ratio.verdict)
        rows.append([f"{macs / 1e6:.1f}", *shown, f"{math.exp(ratio.mean):.2f}", interval, faster])
    head = (
        "MMACs",
        f"{cores} at once, 1 thread: per hour",
        f"1 at a time, {cores} threads: per hour",
    )
    return table((*head, "ratio", "95% interval", "verdict"), rows)


def main() -> None:
    parser = flags_of("throughput", __doc__, "throughput.md")
    parser.add_argument("--networks", type=int, default=3, help="from the smallest to the largest")
    parser.add_argument("--repetitions", type=int, default=8)
    parser.add_argument("--trainings", type=int, default=2, help="per core and arm")
    parser.add_argument("--steps", type=int, default=200, help="of each training")
    parser.add_argument("--batch", type=int, default=64, help="images per step")
    args = parser.parse_args()
    cores = core_count()
    if cores < 2:
        parser.error("this machine has one core for this process: there is nothing to compare.")
    networks = draw_networks(COMPACT.load(), args.networks, np.random.default_rng(0))
    found = {flops(network): measure(network, cores, args) for network in networks}
    about = (
        f"`python -m benchmarks.throughput --networks {args.networks} --repetitions "
        f"{args.repetitions} --trainings {args.trainings} --steps {args.steps} --batch "
        f"{args.batch}` with {TORCH} on {cores} cores: {cores * args.trainings} trainings per arm "
        "and repetition, random images with the shape of Fashion-MNIST; starting processes is not "
        "counted. The ratio is the geometric mean over the repetitions, with Student's interval."
    )
    sections = {"One training per core": f"{about}\n\n{page(found, cores)}"}
    write_sections(args.out, "Trainings per hour", sections)


if __name__ == "__main__":
    main()
