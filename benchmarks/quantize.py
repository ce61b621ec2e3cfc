"""What int8 costs and gains, network by network: `python -m benchmarks.quantize [--json OUT]`.

Searched networks of a finished release, and torchvision's MobileNetV2 and MobileNetV3-small, which
are trained here first, briefly: float32 against int8 on every runtime that runs on this machine.
It prints a table and writes it to docs/results/quantize.md. Weights are kept in --cache, so that
only a first run trains. Latency is the ratio of two files in interleaved blocks of one session.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from benchmarks.quantize_forms import RUNTIMES, Effort, Forms, Row, rows_of
from benchmarks.quantize_networks import KNOWN, Network, Training, searched, trained
from benchmarks.results import replace_sections, table
from core.process import prepare_machine
from core.settings import read_section
from devices.measure.interleaved import Protocol
from devices.quantize.settings import QuantizeParams
from devices.runtimes.registry import backend
from models.training.learning import Images

ROOT = Path(__file__).resolve().parents[1]
ALL_IMAGES = 10_000
HEADING = "Accuracy and speed of int8"
HEAD = ("network", "runtime", "form", "top-1", "agrees", "kB", "float32 / int8 time", "spread")


def main() -> None:
    args = _parser().parse_args()
    prepare_machine(1, 0)
    images = Images.open(args.data)
    rows: list[Row] = []
    effort = _effort(args)
    for network in _networks(args, images):
        with tempfile.TemporaryDirectory(prefix="netwright-") as folder:
            for row in rows_of(Forms(network, images, effort, Path(folder))):
                print(" | ".join(cells(row)), flush=True)
                rows.append(row)
    text = report(rows)
    print(f"\n{text}")
    if args.json is not None:
        args.json.write_text(json.dumps([vars(row) for row in rows], indent=2) + "\n")
    about = f"`python -m benchmarks.quantize{flags(args)}`, {_versions(effort.runtimes)}"
    epochs = f"torchvision's networks learned for {args.epochs:g} epochs, stride 1 in the stem"
    content = f"{about}; {epochs}.\n\n{text}"
    replace_sections(args.out, "What int8 costs and gains", {HEADING: content})


def flags(args: argparse.Namespace) -> str:
    """What was asked for on the command line, of what the numbers depend on."""
    words = [" --qat"] * args.qat + [" --no-latency"] * args.no_latency
    if args.images < ALL_IMAGES:
        words.append(f" --images {args.images}")
    if args.only is not None:
        words.append(f" --only {' '.join(args.only)}")
    return "".join(words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantize", description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / "artifacts" / "data")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml", help="its `quantize`")
    parser.add_argument(
        "--networks", type=Path, default=ROOT / "artifacts" / "train", help="a folder for each"
    )
    parser.add_argument("--cache", type=Path, default=ROOT / "artifacts" / "benchmarks")
    parser.add_argument("--only", nargs="*", default=None, help="names of networks")
    parser.add_argument("--runtimes", nargs="*", choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument("--epochs", type=float, default=Training.epochs, help="of torchvision's")
    parser.add_argument("--images", type=int, default=ALL_IMAGES, help="test images at most")
    parser.add_argument("--qat", action="store_true", help="fine-tune for int8, too")
    parser.add_argument("--no-latency", action="store_true", help="for a machine that is busy")
    parser.add_argument("--json", type=Path, help="write the rows here, too")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "quantize.md")
    return parser


def _effort(args: argparse.Namespace) -> Effort:
    params = read_section(args.params, "quantize", QuantizeParams)
    protocol = Protocol(params.blocks, params.calls, params.max_interval, params.time_limit_s)
    return Effort(
        tuple(name for name in args.runtimes if backend(name).capabilities().can_run),
        args.qat,
        args.images,
        None if args.no_latency else protocol,
        params,
        args.cache,
    )


def _networks(args: argparse.Namespace, images: Images) -> Iterable[Network]:
    folders = {folder.name: folder for folder in sorted(args.networks.glob("*")) if folder.is_dir()}
    for name in args.only or [*folders, *KNOWN]:
        if name in folders:
            yield searched(folders[name])
        elif name in KNOWN:
            yield trained(name, images, Training(epochs=args.epochs), args.cache)
        else:
            known = ", ".join([*folders, *KNOWN])
            raise SystemExit(f"no network '{name}'; there are {known}")


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table; a number nobody measured is a dash."""
    if row.why_not:
        return row.network, row.runtime, row.form, *["-"] * 5
    return (
        row.network,
        row.runtime,
        row.form,
        _text(row.accuracy, ".4f"),
        _text(row.agreement, ".4f"),
        _text(None if row.size is None else row.size / 1000, ".0f"),
        _text(row.speedup, ".2f"),
        _text(row.spread, ".1%"),
    )


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def report(rows: Sequence[Row]) -> str:
    """The table, what each network lost at worst, and what could not be built."""
    lines = [table(HEAD, [cells(row) for row in rows])]
    names = dict.fromkeys(row.network for row in rows)
    lines.append("\n".join(filter(None, (lost(name, rows) for name in names))))
    refused = [f"- {r.network}, {r.runtime}, {r.form}: {r.why_not}" for r in rows if r.why_not]
    lines.append("\n".join(refused))
    return "\n\n".join(filter(None, lines))


def lost(name: str, rows: Sequence[Row]) -> str:
    """What the int8 files of a network lose of top-1 against float32 on the same runtime."""
    own = [row for row in rows if row.network == name]
    whole = {row.runtime: row.accuracy for row in own if row.form == "float32"}
    losses: dict[str, list[float]] = {"calibrated": [], "fine-tuned": []}
    for row in own:
        before = whole[row.runtime]
        if row.form != "float32" and before is not None and row.accuracy is not None:
            kind = "fine-tuned" if row.form.startswith("int8 qat") else "calibrated"
            losses[kind].append(before - row.accuracy)
    found = [f"{k} {min(v):+.4f} to {max(v):+.4f}" for k, v in losses.items() if v]
    return f"- {name} loses of top-1 in int8: {'; '.join(found)}." if found else ""


def _versions(runtimes: Sequence[str]) -> str:
    names = [f"{backend(name).runtime} {backend(name).version()}" for name in runtimes]
    return ", ".join([*names, f"torch {torch.__version__.split('+')[0]}", "one thread"])


if __name__ == "__main__":
    main()
