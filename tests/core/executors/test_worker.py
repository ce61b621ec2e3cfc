"""What a worker sends: outcomes, and errors that its parent can raise."""

from __future__ import annotations

import pytest

from core.errors import UserError
from core.executors import JobError
from core.executors.worker import Done, Failed, execute
from tests.core.executors import jobs


@pytest.mark.parametrize(
    ("job", "kind", "text"),
    [
        ("user", UserError, r"^batch: 7 does not divide 12\.$"),
        ("picky", UserError, r"^batch: 7 is too large\.$"),
        ("system", FileNotFoundError, "teacher.onnx"),
        ("bug", JobError, r"(?s)in fail\n.*ZeroDivisionError"),
        ("exit", JobError, "SystemExit: 3"),
        ("unpicklable", JobError, "(?i)pickle"),
    ],
)
def test_an_error_can_be_sent(job: str, kind: type[Exception], text: str):
    result = execute(jobs.fail, None, job, 1, 0, pytest.fail)
    assert isinstance(result, Failed)
    assert type(result.error) is kind
    with pytest.raises(kind, match=text):
        raise result.error


def test_reports_go_to_the_sender_only_while_a_job_runs():
    sent: list[float | str] = []
    result = execute(jobs.count, None, 3, 1, 0, sent.append)
    assert isinstance(result, Done)
    assert result.outcome == 3
    assert sent == [0]
    jobs.count(None, 3)
    assert sent == [0]
