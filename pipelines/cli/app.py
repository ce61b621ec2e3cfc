"""The console command `netwright`: collects the commands, and ends with their exit code.

Exit codes: 0 success; 1 the run or a check failed; 2 usage error or invalid params, and nothing was
started; 3 a quality gate held the release back; 130 interrupted (143 SIGTERM, 129 SIGHUP). Heavy
imports happen inside the commands.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import NoReturn

import typer

from pipelines.cli.bundles import predict, verify
from pipelines.cli.common import DONE, FAILED, WRONG_USE, Failure
from pipelines.cli.devices import agent, doctor, profile
from pipelines.cli.run import run, serve
from pipelines.cli.show import params, report, space, status
from pipelines.run import interrupts

app = typer.Typer(
    name="netwright",
    help="Build one verified model bundle per device from an image data set.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_COMMANDS = (
    *(run, status, doctor, params, profile, verify),
    *(predict, report, space, serve, agent),
)
for _command in _COMMANDS:
    app.command()(_command)


def main() -> NoReturn:
    """Run the command line; user errors are shown as one message, without a traceback."""
    try:
        with interrupts.exit_on_signal():
            _ensure_home()
            app()  # exits by itself, with 2 after a usage error
    except Failure as failure:
        _print_error(str(failure))
        sys.exit(failure.code)
    except ValueError as error:
        _print_error(str(error))
        sys.exit(WRONG_USE)
    except OSError as error:  # a full disk, a read-only folder
        from core.system import describe_os_error

        _print_error(describe_os_error(error))
        sys.exit(FAILED)
    sys.exit(DONE)


def _ensure_home() -> None:
    """Set HOME if the user has none, before the imports that need it."""
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - pathlib raises instead
        from pipelines.graph import GraphError, find_root
        from pipelines.repository import ensure_home

        with contextlib.suppress(GraphError):  # outside of a repository no import needs it
            ensure_home(find_root(Path.cwd()))


def _print_error(message: str) -> None:
    if message:
        print(f"error: {message}", file=sys.stderr)
