"""`python -m stages.teacher`."""

from stages.common.runtime import run_main
from stages.teacher.stage import main

if __name__ == "__main__":
    run_main(main)
