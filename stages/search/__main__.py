"""`python -m stages.search`."""

from stages.common.runtime import run_main
from stages.search.stage import main

if __name__ == "__main__":
    run_main(main)
