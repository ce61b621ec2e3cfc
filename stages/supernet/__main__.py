"""`python -m stages.supernet`."""

from stages.common.runtime import run_main
from stages.supernet.stage import main

if __name__ == "__main__":
    run_main(main)
