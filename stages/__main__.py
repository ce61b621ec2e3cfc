"""Run one stage: `python -m stages NAME --help`."""

import importlib
import sys
from pathlib import Path

from core.process import run_main
from core.stage import run_stage

NAMES = sorted(f.stem for f in Path(__file__).parent.glob("[a-z]*.py"))


def main() -> None:
    """Run the stage that the first argument names.

    Raises:
        ValueError: there is no such stage.
    """
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in NAMES:
        raise ValueError(f"no stage '{name}'; python -m stages NAME takes {', '.join(NAMES)}.")
    run_stage(getattr(importlib.import_module(f"stages.{name}"), name), sys.argv[2:])


if __name__ == "__main__":
    run_main(main)
