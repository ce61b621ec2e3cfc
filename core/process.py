"""Process settings of a stage: threads, memory allocator, determinism; and its `main`."""

from __future__ import annotations

import ctypes
import os
import random
import sys
from collections.abc import Callable
from typing import NoReturn

import numpy as np
import torch

from core.command import fill_in
from core.system import describe_os_error, show_any_text

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def prepare_machine(threads: int, seed: int) -> None:
    """Set thread count, seeds, determinism and allocator of this process.

    The thread count is part of a stage's params because floating-point sums depend on it.
    """
    _keep_freed_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries may still read the old global state
    random.seed(seed)
    torch.use_deterministic_algorithms(True)
    # Otherwise every new tensor is filled with NaN first, which takes a third of a training step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_flush_denormal(True)


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of returning it to the kernel.

    A training step repeatedly frees and allocates the same large activations; with the defaults
    most of its element-wise time is spent in page faults. No-op without `mallopt`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def run_main(main: Callable[[], None]) -> NoReturn:
    """Run a stage's `main`; errors that the user can fix are printed without a traceback."""
    show_any_text()
    try:
        sys.argv[1:] = fill_in(sys.argv[1:], os.environ.get("DVC_STAGE"))
        main()
    except (ValueError, OSError) as error:  # OSError: a full disk, a missing permission
        reason = describe_os_error(error) if isinstance(error, OSError) else error
        print(f"error: {reason}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)
