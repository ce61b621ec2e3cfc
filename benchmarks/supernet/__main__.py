"""What a supernet's training costs: `python -m benchmarks.supernet [SECTION]...`.

It prints its sections and writes them to docs/results/supernet.md; the others stay there.
- overhead: a step of the supernet over the same step of the plain subnet, per preset;
- bn_only: a step that trains batch norms alone over a full step;
- growth: time and memory of a step as a space grows from 10 to 1,000 candidates a layer.

Blocks of steps are interleaved and ratios are medians of block ratios.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch

from benchmarks.harness.flags import flags_of, require_known
from benchmarks.harness.markdown import write_sections
from benchmarks.supernet.cost import Effort, bn_only, growth, overhead
from core.process import prepare_machine

SECTIONS: Mapping[str, tuple[str, Callable[[Effort], str]]] = {
    "overhead": ("A supernet's step over the plain network's", overhead),
    "bn_only": ("A step that trains batch norms alone", bn_only),
    "growth": ("Cost against the size of the space", growth),
}
QUICK = Effort(blocks=2, calls=1, batch=16, large_batch=2, architectures=1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = flags_of("supernet", __doc__, "supernet.md")
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; none for all")
    parser.add_argument("--quick", action="store_true", help="check that it runs; writes nothing")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, help="rounds of interleaved blocks")
    args = parser.parse_args(arguments)
    require_known(parser, args.sections, SECTIONS)
    prepare_machine(args.threads, 0)
    effort = QUICK if args.quick else Effort()
    effort = dataclasses.replace(effort, blocks=args.blocks or effort.blocks)
    machine = f"{args.threads} threads, torch {torch.__version__.split('+')[0]}"
    found: dict[str, str] = {}
    for name in args.sections or SECTIONS:
        heading, measure = SECTIONS[name]
        found[heading] = f"`python -m benchmarks.supernet {name}`, {machine}.\n\n{measure(effort)}"
    write_sections(None if args.quick else args.out, "What a supernet's training costs", found)


if __name__ == "__main__":
    main()
