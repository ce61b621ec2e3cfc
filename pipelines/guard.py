"""Run a module as `python -m` does, and end with the process that started it, however it ended.

    python -P guard.py MODULE ARGUMENT...

Standard input is a pipe whose other end the starting process alone holds. When that process is
gone, even by kill -9, the pipe ends, and so does this process's whole group. What is run gets an
empty standard input. Standard library only: it is imported by nobody and starts at once.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
from pathlib import Path


def watch(pipe: int) -> None:
    """Wait until the pipe ends; then end the group."""
    while os.read(pipe, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Watch in a thread, and become the module."""
    pipe = os.dup(0)  # not inherited by what the module starts
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    threading.Thread(target=watch, args=(pipe,), daemon=True).start()
    sys.path.insert(0, str(Path.cwd()))
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
