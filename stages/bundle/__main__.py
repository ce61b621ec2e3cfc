"""Run the stage: `python -m stages.bundle --help`."""

from stages.bundle.stage import main
from stages.common.runtime import run_main

if __name__ == "__main__":
    run_main(main)
