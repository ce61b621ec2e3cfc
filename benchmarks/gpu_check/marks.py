"""Lines of code and documents that are marked unverified, and what would verify them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from benchmarks.harness.flags import ROOT


class Mark(NamedTuple):
    """A marked line: its file, relative to the repository, and words that only this line has."""

    file: str
    words: str

    def lines(self, root: Path = ROOT) -> list[int]:
        """The numbers, from 1, of the lines with these words; right is exactly one."""
        text = (root / self.file).read_text(encoding="utf-8").splitlines()
        return [number for number, line in enumerate(text, 1) if self.words in line]

    def __str__(self) -> str:
        return f"{self.file}:{', '.join(map(str, self.lines()))}"


_TENSORRT = "devices/runtimes/tensorrt"
SUPERNET = (
    Mark("models/training/supernet/settings.py", "cuda is UNVERIFIED"),
    Mark("docs/settings.md", "`supernet.device`"),
)
PROCESSES = (Mark("core/distributed.py", "NCCL is UNVERIFIED"),)
ENGINES = (
    Mark(f"{_TENSORRT}/backend.py", "driver (`open`, regular TensorRT) follows"),
    Mark(f"{_TENSORRT}/session.py", "UNVERIFIED: needs a GPU"),
    Mark("docs/decisions/0006-one-tensorrt-backend-two-packages.md", "**Not verified.**"),
)
REGULAR_ENGINES = (Mark(f"{_TENSORRT}/backend.py", "this machine's GPU. UNVERIFIED"),)
OTHER_HARDWARE = (
    Mark("devices/device.py", "GPU and NPU are UNVERIFIED"),
    Mark("docs/settings.md", "GPU and NPU are UNVERIFIED"),
    Mark("params.yaml", "openvino; unverified"),
    Mark("devices/runtimes/openvino/backend.py", "GPU and NPU are UNVERIFIED"),
    Mark("devices/runtimes/openvino/session.py", "GPU and NPU are UNVERIFIED"),
    Mark("devices/runtimes/qnn/backend.py", "documented API and is UNVERIFIED"),
    Mark("devices/runtimes/qnn/backend.py", "otherwise runs on a DSP (UNVERIFIED)"),
    Mark("devices/runtimes/qnn/session.py", "UNVERIFIED on a DSP"),
    Mark("docs/decisions/0016-running-is-not-measuring.md", "**Not verified.**"),
    Mark("devices/runtimes/coreml/backend.py", "documented API and is UNVERIFIED"),
    Mark("devices/runtimes/coreml/backend.py", "runs on macOS (UNVERIFIED)"),
    Mark("devices/runtimes/coreml/session.py", "UNVERIFIED: needs macOS"),
)
"""An Intel GPU or NPU, a Hexagon DSP, a Mac: no check here."""
