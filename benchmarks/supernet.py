"""What a supernet's training costs: `python -m benchmarks.supernet [SECTION]...`.

It prints its sections and writes them to docs/results/supernet.md; those not asked for stay there.
- overhead: a step of the supernet over the same step of the plain subnet, per preset;
- bn_only: a step that trains batch norms alone over a full step;
- ranking: how early the BN indicator's ranking settles under `bn_only` and under `spos`;
- throughput: images per second and share of the machine's matrix rate, per strategy;
- growth: time and memory of a step as a space grows from 10 to 1,000 candidates a layer.

Blocks of steps are interleaved and ratios are medians of block ratios.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from benchmarks.results import replace_sections
from benchmarks.supernet_cost import bn_only, growth, overhead, throughput
from benchmarks.supernet_ranking import settling
from benchmarks.supernet_setup import Effort
from core.process import prepare_machine

ROOT = Path(__file__).resolve().parents[1]
SECTIONS: Mapping[str, tuple[str, Callable[[Effort], str]]] = {
    "overhead": ("A supernet's step over the plain network's", overhead),
    "bn_only": ("A step that trains batch norms alone", bn_only),
    "ranking": ("How early the BN indicator's ranking settles", settling),
    "throughput": ("Images per second, per strategy", throughput),
    "growth": ("Cost against the size of the space", growth),
}
QUICK = Effort(blocks=2, calls=1, batch=16, large_batch=2, architectures=1, steps=20, ranked=50)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.supernet", description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; none for all")
    parser.add_argument("--quick", action="store_true", help="see that it works; writes nothing")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, help="rounds of interleaved blocks")
    parser.add_argument("--steps", type=int, help="of the trainings of `ranking`")
    parser.add_argument("--data", type=Path, help="prepared images for `ranking`, else random ones")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "supernet.md")
    args = parser.parse_args()
    unknown = sorted(set(args.sections) - set(SECTIONS))
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    prepare_machine(args.threads, 0)
    effort = QUICK if args.quick else Effort()
    changes = {k: v for k in ("blocks", "steps", "data") if (v := getattr(args, k)) is not None}
    effort = dataclasses.replace(effort, **changes)
    found: dict[str, str] = {}
    for name in args.sections or SECTIONS:
        heading, measure = SECTIONS[name]
        text = measure(effort)
        print(f"\n## {heading}\n\n{text}", flush=True)
        found[heading] = f"`python -m benchmarks.supernet {name}`, {_machine(args)}.\n\n{text}"
    if not args.quick:
        replace_sections(args.out, "What a supernet's training costs", found)


def _machine(args: argparse.Namespace) -> str:
    return f"{args.threads} threads, torch {torch.__version__.split('+')[0]}"


if __name__ == "__main__":
    main()
