"""Run the prepare stage: `python -m stages.prepare --help`."""

from __future__ import annotations

from stages.common.runtime import run_main
from stages.prepare.stage import main

if __name__ == "__main__":
    run_main(main)
