"""The table of executors of independent jobs. To add one, add a file here and a line below."""

from __future__ import annotations

from collections.abc import Mapping

from core.executors.base import Executor, ExecutorSettings, JobError
from core.executors.local import LocalExecutor
from core.executors.ray import RayExecutor
from core.executors.reports import report

EXECUTORS: Mapping[str, type[Executor]] = {
    executor.settings_type.entry(): executor
    for executor in (
        LocalExecutor,
        RayExecutor,
    )
}


def create_executor(settings: ExecutorSettings, threads: int, seed: int) -> Executor:
    """The executor of its settings.

    Args:
        settings: of an entry of the table.
        threads: CPU threads of every job.
        seed: of the global random generators, which every job starts with.

    Raises:
        UserError: a package that it needs is not installed.
    """
    return EXECUTORS[settings.name](settings, threads, seed)


__all__ = ["EXECUTORS", "Executor", "ExecutorSettings", "JobError", "create_executor", "report"]
