"""A repository whose input the checks refuse."""

import pytest

from tests.support import Repository, copy_repository, on_digits


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository with two devices."""
    return on_digits(copy_repository(tmp_path_factory.mktemp("bad") / "repository"))
