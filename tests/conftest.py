"""Fixtures that tests of several rooms share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import Repository, copy_repository, on_digits


@pytest.fixture
def digits(tmp_path: Path) -> Repository:
    """A repository that is ready for `netwright run` on the digits, with nothing produced yet."""
    return on_digits(copy_repository(tmp_path / "repository"))
