"""`python -m stages.train`."""

from stages.common.runtime import run_main
from stages.train.stage import main

if __name__ == "__main__":
    run_main(main)
