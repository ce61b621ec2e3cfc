"""A scheduled run, seen to happen through Prefect's own interface."""

from pathlib import Path

import pytest

from tests.support import Repository

ROOT = Path(__file__).resolve().parents[2]
SERVE = """
from datetime import timedelta
from rich.console import Console
from pipelines.serve import serve_schedule
serve_schedule(Console(), Path.cwd(), timedelta(seconds=10), int(sys.argv[1]), 1)
"""


@pytest.mark.timeout(200)
def test_a_scheduled_run_happens_and_the_server_stops_with_us(digits: Repository):
    # Nothing to do in this repository: the schedule is what is looked at.
    (digits.root / "dvc.yaml").write_text(EMPTY)
