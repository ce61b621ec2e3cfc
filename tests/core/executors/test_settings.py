"""The setting `executor`: a name, or a name with settings."""

from __future__ import annotations

from typing import Annotated

import pytest

from core.executors import EXECUTORS, ExecutorSettings, create_executor
from core.executors.local import LocalExecutor, LocalSettings
from core.settings import OneOf, Params, ParamsError, bind
from core.system import core_count


class Race(Params):
    """A section with an executor."""

    executor: Annotated[
        ExecutorSettings, OneOf("executor", [e.settings_type for e in EXECUTORS.values()])
    ] = LocalSettings()


def test_a_name_or_settings_select_an_executor():
    assert bind({}, "race", Race).executor == LocalSettings()
    assert bind({"executor": "local"}, "race", Race).executor == LocalSettings()
    chosen = bind({"executor": {"name": "local", "workers": 3}}, "race", Race).executor
    assert chosen == LocalSettings(workers=3)
    executor = create_executor(chosen, threads=2, seed=0)
    assert isinstance(executor, LocalExecutor)
    assert executor.workers == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("lokal", r"^race\.executor: unknown executor 'lokal'\. Did you mean 'local'\? Known: "),
        ({"name": "loca"}, r"unknown executor 'loca'\. Did you mean 'local'\?"),
        ({"workers": 2}, r"^race\.executor: needs the name of its executor\. Known: local"),
        ({"name": "local", "worker": 2}, r"^race\.executor\.worker: unknown key\..*'workers'"),
        (
            {"name": "local", "workers": 0},
            r"^race\.executor\.workers: .*greater than or eq",
        ),
    ],
)
def test_a_wrong_one_is_an_error_with_a_hint(given: object, message: str):
    with pytest.raises(ParamsError, match=message):
        bind({"executor": given}, "race", Race)


def test_by_default_jobs_share_the_cores():
    for threads in (1, 2, 1000):
        executor = LocalExecutor(LocalSettings(), threads, 0)
        assert executor.workers == max(1, core_count() // threads)
