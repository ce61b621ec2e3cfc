"""What int8 costs and gains, network by network: `python -m benchmarks.quantize`.

Searched networks of a finished release, and torchvision's MobileNetV2 and MobileNetV3-small, which
are trained here first, briefly: float32 against int8 on every runtime that runs on this machine.
Weights are kept, so that only a first run trains. Latency is the ratio of two files in interleaved
blocks of one session.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.harness.flags import PARAMS, add_artifacts, flags_of, require_known
from benchmarks.harness.markdown import number, table, write_sections
from benchmarks.harness.presets import TORCH, TORCHVISION
from benchmarks.harness.release import settings
from benchmarks.quantize.variants import (
    RUNTIMES,
    Effort,
    Network,
    Row,
    Training,
    rows_of,
    searched,
    train_torchvision,
    trained_folders,
)
from core.process import prepare_machine
from devices.quantize.settings import QuantizeParams
from devices.runtimes.registry import backend
from models.training.learning import Images

HEAD = ("network", "runtime", "variant", "top-1", "agrees", "kB", "float32 / int8 time", "spread")


def main() -> None:
    args = _flags()
    prepare_machine(1, 0)
    images = Images.read(args.artifacts / "data")
    rows, params = list[Row](), settings(args.params, "quantize", QuantizeParams)
    runtimes = tuple(name for name in args.runtimes if backend(name).capabilities().can_run)
    effort = Effort(runtimes, None if args.no_latency else params.protocol, params)
    for network in _networks(args, images):
        with tempfile.TemporaryDirectory(prefix="netwright-") as folder:
            for row in rows_of(network, images, effort, Path(folder)):
                print(" | ".join(cells(row)), flush=True)
                rows.append(row)
    words = " --no-latency" * args.no_latency
    words += f" --only {' '.join(args.only or ())}" * (args.only is not None)
    versions = [f"{backend(name).runtime} {backend(name).version()}" for name in runtimes]
    about = (
        f"`python -m benchmarks.quantize{words}`, {', '.join([*versions, TORCH])}, one thread; "
        f"torchvision's networks learned for {Training.epochs:g} epochs, stride 1 in the stem."
    )
    sections = {"Accuracy and speed of int8": f"{about}\n\n{report(rows)}"}
    write_sections(args.out, "What int8 costs and gains", sections)


def _flags() -> argparse.Namespace:
    parser = flags_of("quantize", __doc__, "quantize.md")
    add_artifacts(parser)
    parser.add_argument("--params", type=Path, default=PARAMS, help="its `quantize`")
    parser.add_argument("--only", nargs="*", default=None, help="names of networks")
    parser.add_argument("--runtimes", nargs="*", choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument("--no-latency", action="store_true", help="for a machine that is busy")
    args = parser.parse_args()
    args.folders = {path.name: path for path in trained_folders(args.artifacts)}
    require_known(parser, args.only or (), [*args.folders, *TORCHVISION])
    return args


def _networks(args: argparse.Namespace, images: Images) -> Iterable[Network]:
    for name in args.only or [*args.folders, *TORCHVISION]:
        if name in args.folders:
            yield searched(args.folders[name])
        else:
            yield train_torchvision(name, images, Training(), args.artifacts / "benchmarks")


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table; a number that was not measured is a dash."""
    return (
        row.network,
        row.runtime,
        row.variant,
        number(row.accuracy, ".4f"),
        number(row.agreement, ".4f"),
        number(row.size and row.size / 1000, ".0f"),
        number(row.speedup, ".2f"),
        number(row.spread, ".1%"),
    )


def report(rows: Sequence[Row]) -> str:
    """The table, what each network loses, and what could not be built."""
    losses = [lost(name, rows) for name in dict.fromkeys(row.network for row in rows)]
    refused = [f"- {r.network}, {r.runtime}, {r.variant}: {r.why_not}" for r in rows if r.why_not]
    parts = [table(HEAD, [cells(row) for row in rows])]
    parts += ["\n".join(filter(None, some)) for some in (losses, refused)]
    return "\n\n".join(filter(None, parts))


def lost(name: str, rows: Sequence[Row]) -> str:
    """What the int8 files of a network lose of top-1 against float32 on the same runtime."""
    own = [row for row in rows if row.network == name]
    whole = {row.runtime: row.accuracy for row in own if row.variant == "float32"}
    losses = [
        before - row.accuracy
        for row in own
        if row.variant != "float32" and row.accuracy is not None
        if (before := whole[row.runtime]) is not None
    ]
    if not losses:
        return ""
    return f"- {name} loses of top-1 in int8: {min(losses):+.4f} to {max(losses):+.4f}."


if __name__ == "__main__":
    main()
