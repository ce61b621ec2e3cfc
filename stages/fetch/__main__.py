"""Run the fetch stage: `python -m stages.fetch --help`."""

from __future__ import annotations

from stages.common.runtime import run_main
from stages.fetch.stage import main

if __name__ == "__main__":
    run_main(main)
