"""Device agents in second processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents import Agent


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent shared by many tests."""
    started = Agent(tmp_path_factory.mktemp("device"))
    yield started
    started.kill()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Agent]:
    """An agent that a test may kill."""
    started = Agent(tmp_path)
    yield started
    started.kill()
