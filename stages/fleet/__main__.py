"""`python -m stages.fleet`."""

from stages.common.runtime import run_main
from stages.fleet.stage import main

if __name__ == "__main__":
    run_main(main)
