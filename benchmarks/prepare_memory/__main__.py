"""Does the memory of `prepare` grow with the number of images?

`python -m benchmarks.prepare_memory --images FOLDER --work FOLDER` prepares subsets of a folder of
images (one subfolder per class), each in its own process, and reports the peak of its resident
memory. Images of the subsets are hard links, or copies on another disk.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.flags import ROOT, flags_of
from benchmarks.harness.markdown import table, write_sections
from core.errors import UserError

COUNTS = (5_000, 50_000)
SIZE = 64
_CHILD = "import sys; from benchmarks.prepare_memory.__main__ import child; child(*sys.argv[1:])"


def child(params: str, source: str, out: str) -> None:
    """Run the stage, and print its seconds and the peak of its memory in bytes."""
    from core.stage import run_stage
    from stages.prepare import prepare

    loaded, began = peak_bytes(), time.perf_counter()
    run_stage(prepare, [f"--params={params}", f"--source={source}", f"--out={out}"])
    print(json.dumps([loaded, peak_bytes(), time.perf_counter() - began]))


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def link_subset(images: Path, count: int, to: Path) -> None:
    """Link `count` images, as many of every class as of the others.

    Raises:
        UserError: there are too few.
    """
    classes = sorted(folder for folder in images.iterdir() if folder.is_dir())
    files = [sorted(file for file in folder.rglob("*") if file.is_file()) for folder in classes]
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*files))
    chosen = list(itertools.islice((file for file in rounds if file is not None), count))
    if len(chosen) < count:
        raise UserError(f"{images} has {len(chosen)} images in subfolders, not {count}.")
    for file in chosen:
        place = to / file.relative_to(images)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, place)
        except OSError:  # another disk
            shutil.copyfile(file, place)


def measure(images: Path, count: int, size: int, work: Path) -> tuple[int, int, float, int]:
    """Bytes after importing, bytes at the peak, seconds, and bytes of the arrays."""
    folder = work / f"{count}"
    shutil.rmtree(folder, ignore_errors=True)
    link_subset(images, count, folder / "images")
    params = folder / "params.yaml"
    section = {"source": "folder", "path": "images", "size": size}
    params.write_text(json.dumps({"data": section}), encoding="utf-8")
    out = folder / "data"
    command = [sys.executable, "-c", _CHILD, str(params), str(folder / "images"), str(out)]
    found = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    loaded, peak, seconds = json.loads(found.stdout.splitlines()[-1])
    arrays = sum(file.stat().st_size for file in out.glob("*.npy"))
    shutil.rmtree(folder)
    return loaded, peak, seconds, arrays


def report(size: int, rows: Sequence[tuple[int, tuple[int, int, float, int]]]) -> str:
    """The page's section."""
    first, last = rows[0], rows[-1]
    grown = last[1][1] - first[1][1]
    each = grown / max(1, last[0] - first[0])
    cells = [
        [f"{count:,}", *(f"{value / 1e6:,.0f}" for value in (arrays, loaded, peak)), f"{spent:.0f}"]
        for count, (loaded, peak, spent, arrays) in rows
    ]
    head = ["images", "arrays, MB", "after imports, MB", "peak, MB", "seconds"]
    return (
        f"`python -m benchmarks.prepare_memory`: folders of JPEG files, prepared at {size} pixels, "
        "near-duplicates included, one process each; resident memory (`ru_maxrss`).\n\n"
        f"{table(head, cells)}\n\n"
        f"From {first[0]:,} to {last[0]:,} images the peak grows by {grown / 1e6:.0f} MB, "
        f"{each:,.0f} bytes per image (its name, hashes and label), where an image has "
        f"{3 * size * size:,} bytes. The decoded images lie in an unnamed file beside the output "
        "while the stage runs. The seconds are of a shared machine."
    )


def main() -> None:
    """Measure, and write the page."""
    parser = flags_of("prepare_memory", __doc__, "prepare-memory.md")
    parser.add_argument("--images", type=Path, required=True, help="one subfolder per class")
    parser.add_argument("--work", type=Path, required=True, help="folder of the subsets")
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--size", type=int, default=SIZE, help="pixels")
    flags = parser.parse_args()
    rows = [(n, measure(flags.images, n, flags.size, flags.work)) for n in sorted(flags.counts)]
    sections = {"Peak memory": report(flags.size, rows)}
    write_sections(flags.out, "Memory of the stage prepare", sections)


if __name__ == "__main__":
    main()
