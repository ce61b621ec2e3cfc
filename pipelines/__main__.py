"""Entry point of `netwright`, and of `python -m pipelines` on the working folder's code."""

import os
from typing import NoReturn

from core.system import show_any_text
from pipelines.environment import remove_foreign_variables, reset_warnings
from pipelines.run import interrupts


def main() -> NoReturn:
    """Run the command line; signals are handled before the slow imports."""
    interrupts.install_handlers()
    reset_warnings(os.environ)
    remove_foreign_variables(os.environ)
    show_any_text()
    with interrupts.exit_on_signal():
        from pipelines.cli.app import main as commands

        commands()


if __name__ == "__main__":
    main()
