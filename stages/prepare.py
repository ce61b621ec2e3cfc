"""Convert the original files into checked, split, memory-mappable arrays."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from core.files import sha256_file, write_array, write_json
from core.progress import Progress, note_line
from core.settings import read_section
from data.dataset import FILE, SCHEMA, DatasetInfo, images_file, labels_file
from data.prepare import Prepared, prepare
from data.settings import DataParams
from data.sources import SOURCES
from data.sources.base import Loaded, LoadOptions


def load(params: DataParams, folder: Path) -> Loaded:
    """Decode the data set in `folder`, showing progress."""
    options = LoadOptions(params.size, params.fit, params.max_corrupt)
    source = SOURCES[params.source]
    progress: Progress | None = None

    def on_done(done: int, of: int) -> None:
        nonlocal progress
        if progress is None:
            progress = Progress("decoding", of)
            progress.__enter__()
        progress.update(done)

    try:
        return source.load(folder, options, on_done)
    finally:
        if progress is not None:
            progress.__exit__(None, None, None)


def write(prepared: Prepared, out: Path) -> DatasetInfo:
    """Write the arrays, then the description last: a folder with it is complete."""
    arrays = {}
    for name, part in prepared.splits.items():
        for file, array in (
            (images_file(name), part.images_NHWC),
            (labels_file(name), part.labels_N),
        ):
            write_array(out / file, array)
            arrays[file] = sha256_file(out / file)
    info = replace(prepared.info, arrays=arrays)
    write_json(out / FILE, SCHEMA, info.to_json())
    return info


def main() -> None:
    """Parse the flags of `dvc.yaml`, decode, prepare, write."""
    parser = argparse.ArgumentParser(prog="python -m stages prepare", description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    params = read_section(flags.params, "data", DataParams)
    prepared = prepare(load(params, flags.source), params)
    for note in prepared.notes:
        print(note_line(note))
    info = write(prepared, flags.out)
    sizes = ", ".join(f"{name} {sum(counts.values())}" for name, counts in info.counts.items())
    print(f"{info.name}: {len(info.classes)} classes of {info.image_shape} images; {sizes}")
