"""Run the stage: `python -m stages.export --help`."""

from stages.common.runtime import run_main
from stages.export.stage import main

if __name__ == "__main__":
    run_main(main)
