"""`python -m stages.rank`."""

from stages.common.runtime import run_main
from stages.rank.stage import main

if __name__ == "__main__":
    run_main(main)
