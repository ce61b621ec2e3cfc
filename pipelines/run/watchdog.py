"""Run a module as `python -m` does, and end with the process that started it.

    python -P watchdog.py MODULE ARGUMENT...

Standard input is a pipe whose write end only the starting process holds. When that process ends,
even by SIGKILL, the pipe closes, and this process group is killed. The module's standard input is
/dev/null. Standard library only, so that it starts fast; no module imports it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
from pathlib import Path


def watch(pipe: int) -> None:
    """Wait until the pipe closes, then kill the process group."""
    while os.read(pipe, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Watch the pipe in a thread, and run the module."""
    pipe = os.dup(0)  # not inherited by the module's child processes
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    threading.Thread(target=watch, args=(pipe,), daemon=True).start()
    sys.path.insert(0, str(Path.cwd()))
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
