"""Fixtures for the tests of several packages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.support import Repository, copy_repository, on_digits

# The suite draws the same examples every time, so that it is reproducible, and no time limits them;
# HYPOTHESIS_PROFILE=default draws new ones.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
torch.set_num_threads(1)  # the tests run in parallel, and their tensors are small


@pytest.fixture(autouse=True)
def subnormal_numbers() -> None:
    """Allow denormal floats, which a stage run in this process has flushed: tests draw some."""
    torch.set_flush_denormal(False)


@pytest.fixture
def digits(tmp_path: Path) -> Repository:
    """A repository that is ready for `netwright run` on the digits, without outputs."""
    return on_digits(copy_repository(tmp_path / "repository"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what needs every bundle; begin with the files that take longest.

    Two processes share the files, and the last of them should be short.
    """
    weights: dict[Path, int] = {}
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "bundles" in fixtures:
            item.add_marker(pytest.mark.slow)
        weight = 1000 if "released" in fixtures else item.get_closest_marker("slow") is not None
        weights[item.path] = weights.get(item.path, 0) + weight
    items.sort(key=lambda item: weights[item.path], reverse=True)
