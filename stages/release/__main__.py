"""Run the stage: `python -m stages.release --help`."""

from stages.common.runtime import run_main
from stages.release.stage import main

if __name__ == "__main__":
    run_main(main)
