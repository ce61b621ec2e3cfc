"""Run the stage: `python -m stages.profile --help`."""

from stages.common.runtime import run_main
from stages.profile.stage import main

if __name__ == "__main__":
    run_main(main)
