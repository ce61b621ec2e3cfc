"""Run the stage: `python -m stages.quantize --help`."""

from stages.common.runtime import run_main
from stages.quantize.stage import main

if __name__ == "__main__":
    run_main(main)
