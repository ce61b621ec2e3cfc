"""What is marked unverified for want of an NVIDIA GPU: `python -m benchmarks.gpu_check [CHECK]...`.

About five minutes on a machine with a GPU whose driver supports the CUDA of the installed torch;
exit code 1 if a check fails. Without a GPU every check says what it would show and does what can be
done without one; nothing passes, and the exit code is 0.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.gpu_check.checks import CHECKS
from benchmarks.gpu_check.child import run_check
from benchmarks.gpu_check.marks import OTHER_HARDWARE, Mark
from benchmarks.gpu_check.record import Report, Row
from benchmarks.harness.flags import ROOT, flags_of, require_known
from core.errors import UserError
from devices.runtimes.tensorrt.session import gpu_capability

PAGE = ROOT / "docs" / "results" / Report.FILE
_COLOURS = {"passed": "green", "failed": "red", "skipped": "yellow", "not run": "yellow"}
_PACKAGES = ("torch", "tensorrt-rtx-cu12", "tensorrt")


def main() -> int:
    """Run the checks; returns the exit code."""
    parser = flags_of("gpu_check", __doc__)
    parser.add_argument("checks", nargs="*", help=f"some of: {', '.join(CHECKS)}")
    parser.add_argument("--out", type=Path, help=f"JSON file; with a GPU {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    require_known(parser, args.checks, CHECKS)
    console = Console()
    try:
        gpu = find_gpu(gpu_capability(), torch.cuda.is_available())
    except UserError as error:
        console.print(f"error: {error}", markup=False)
        return 1
    rows = []
    for name in args.checks or CHECKS:
        console.print(f"{name}: {CHECKS[name].claim} ...", markup=False, highlight=False)
        rows.append(run_check(name, "cpu" if gpu is None else "cuda"))
    report = Report(gpu=gpu, versions=versions(), rows=tuple(rows))
    show(report, console)
    file = args.out or (PAGE if gpu is not None else None)
    if file is not None:
        report.write(file)
        console.print(f"written: {file}", markup=False, highlight=False, soft_wrap=True)
    return int(report.failed)


def find_gpu(capability: str | None, usable: bool) -> str | None:
    """Name and capability of the first GPU; None if no NVIDIA GPU answers.

    Args:
        capability: as the driver answers.
        usable: whether torch can use a GPU.

    Raises:
        UserError: there is a GPU, but torch cannot use it.
    """
    if usable:
        return f"{torch.cuda.get_device_name(0)} ({capability})"
    if capability is not None:
        raise UserError(
            f"an NVIDIA GPU ({capability}) answers, but torch {torch.__version__} cannot use it: "
            f"install a driver for CUDA {torch.version.cuda}, or a torch for this driver."
        )
    return None


def versions() -> dict[str, Any]:
    """Versions of what computes; None: not installed."""
    found: dict[str, Any] = {name: _version(name) for name in _PACKAGES}
    found |= {"cuda": torch.version.cuda, "cudnn": None, "nccl": None}
    if torch.cuda.is_available():
        found["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        nccl = torch.cuda.nccl.version()  # type: ignore[no-untyped-call]
        found["nccl"] = ".".join(map(str, nccl))
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def show(report: Report, console: Console) -> None:
    """Print the table, what is verified and what is not, and a last sentence."""
    table = Table("check", "status", "values", "s", title=report.gpu or "no NVIDIA GPU")
    for row in report.rows:
        status = f"[{_COLOURS[row.status]}]{row.status}"
        table.add_row(row.name, status, escape(details(row)), f"{row.seconds:.0f}")
    console.print(table)
    for heading, marks in marked(report.rows).items():
        for mark in marks:
            console.print(f"{heading}: {mark}", markup=False, highlight=False, soft_wrap=True)
    console.print(sentence(report), markup=False, highlight=False, soft_wrap=True)


def sentence(report: Report) -> str:
    """How many checks have which status."""
    counts = {status: sum(row.status == status for row in report.rows) for status in _COLOURS}
    if report.gpu is not None:
        return ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    return f"no NVIDIA GPU: {len(report.rows) - counts['failed']} checks not run{failed}"


def details(row: Row) -> str:
    """The numbers and the reason; without a GPU what would be shown, and what was done."""
    values = "\n".join(map(str, row.values))
    if row.status == "not run":
        values = f"would show: {row.claim}\nhere, on the CPU:\n{values}"
    return "\n".join(filter(None, [row.reason if row.status != "not run" else "", values]))


def marked(rows: Sequence[Row]) -> Mapping[str, list[Mark]]:
    """Marks by what this run says of them: verified if all checks that they need have passed."""
    passed = {row.name for row in rows if row.status == "passed"}
    needs: dict[Mark, set[str]] = {}
    for name, check in CHECKS.items():
        for mark in check.verifies:
            needs.setdefault(mark, set()).add(name)
    return {
        "verified by this run": [mark for mark, names in needs.items() if names <= passed],
        "unverified": [mark for mark, names in needs.items() if not names <= passed],
        "needs other hardware": [*OTHER_HARDWARE],
    }


if __name__ == "__main__":
    sys.exit(main())
