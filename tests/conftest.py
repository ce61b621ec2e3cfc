"""Fixtures that tests of several rooms share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support import Repository, copy_repository, on_digits


@pytest.fixture(autouse=True)
def subnormal_numbers() -> None:
    """Undo what a stage run in this process did to the processor: drawn floats may be tiny."""
    torch.set_flush_denormal(False)


@pytest.fixture
def digits(tmp_path: Path) -> Repository:
    """A repository that is ready for `netwright run` on the digits, with nothing produced yet."""
    return on_digits(copy_repository(tmp_path / "repository"))


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal out tests to two processes: what shares an expensive fixture stays together.

    The tests of the finished release come first, because they take longest; a folder's tests
    stay together for its fixtures, but for those of `tests/pipelines`, whose files share none.
    """
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        folder = item.path.parent if item.path.parent.name != "pipelines" else item.path
        group = "finished" if "finished" in fixtures else str(folder)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: "finished" not in getattr(item, "fixturenames", ()))
