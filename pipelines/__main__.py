"""The command `netwright`, and `python -m pipelines` from the working folder's own code."""

import os
from typing import NoReturn

from pipelines import interrupts
from pipelines.environment import settle, settle_warnings


def main() -> NoReturn:
    """Run the command line; a signal is handled from the first import on."""
    interrupts.arm()
    settle_warnings(os.environ)
    settle(os.environ)
    with interrupts.handled():
        from pipelines.cli import main as commands

        commands()


if __name__ == "__main__":
    main()
