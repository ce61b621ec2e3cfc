"""Convert the original files into checked, split, memory-mappable arrays."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from core.progress import Progress, note_line
from data.prepare import Prepared
from data.prepare import prepare as prepare_dataset
from data.settings import DataParams
from data.sources import SOURCES
from data.sources.base import Loaded, LoadOptions


def prepare(data: DataParams, source: Path, out: Path) -> Prepared:
    """Decode the images in the folder `source`, split and describe them.

    Decoded images are kept in an unnamed temporary file beside `out`.

    Raises:
        UserError: too many unreadable images, too few classes, or too few images in one of them.
    """
    prepared = prepare_dataset(load(data, source, out.parent), data)
    for note in prepared.notes:
        print(note_line(note))
    info = prepared.info
    sizes = ", ".join(f"{name} {sum(counts.values())}" for name, counts in info.counts.items())
    print(f"{info.name}: {len(info.classes)} classes of {info.image_shape} images; {sizes}")
    return prepared


def load(data: DataParams, folder: Path, scratch: Path) -> Loaded:
    """Decode the images in `folder` to a temporary file in `scratch`, showing progress."""
    scratch.mkdir(parents=True, exist_ok=True)
    options = LoadOptions(data.size, data.fit, data.max_corrupt, data.layout, scratch)
    progress: Progress | None = None
    with ExitStack() as stack:

        def on_done(done: int, of: int) -> None:
            nonlocal progress
            if progress is None:
                progress = stack.enter_context(Progress("decoding", of))
            progress.update(done)

        return SOURCES[data.source].load(folder, options, on_done)
