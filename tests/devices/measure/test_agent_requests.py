"""What the device agent accepts: tokens, jobs, uploads, and the end of its jobs."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from devices.device import DeviceError
from devices.measure.agent.jobs import SCHEMA, JobError, check_job
from devices.measure.agent.queue import Jobs, Limits
from devices.measure.agent.server import LEAST_TOKEN, TOKEN_VARIABLE, read_token
from tests.agents import ENDLESS, TOKEN, Agent, until


def job_for(file: Path, **changes: Any) -> tuple[dict[str, Any], bytes]:
    content = file.read_bytes()
    row = {"name": file.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    job = {
        "schema": SCHEMA, "id": "0" * 32, "kind": "measure", "label": "x", "seconds": 60,
        "backend": "onnxruntime", "threads": 1, "unit": "CPU", "files": [row], "model": file.name,
        "reference": file.name,
        "protocol": {"blocks": 3, "calls": 5, "max_interval": 1.0, "time_limit_s": 0.1},
    }  # fmt: skip
    return job | changes, content


def test_a_job_that_cannot_start_is_answered_and_the_next_one_is_taken(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, Limits())
    for number in ("first", "second"):  # nothing was stored in their folders
        jobs.add({"id": number, "seconds": 1.0})
    until(lambda: (jobs.state("second") or {}).get("state") == "done", "the second answer")
    assert "cannot start" in (jobs.state("first") or {})["answer"]["error"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_agent_that_ends_leaves_no_job_running_and_no_file(
    how: signal.Signals, mortal: Agent, large: Path
) -> None:
    job, content = job_for(large, protocol=ENDLESS)
    code, _ = mortal.request("POST", "/jobs", json.dumps(job).encode() + b"\n" + content)
    assert code == 202
    until(lambda: mortal.running() == "0" * 32, "the job")
    assert list(mortal.scratch.iterdir())
    mortal.kill(how)
    until(lambda: not list(mortal.scratch.iterdir()), "an empty folder")


def test_a_cancelled_job_stops_at_once(agent: Agent, large: Path) -> None:
    job, content = job_for(large, protocol=ENDLESS)
    agent.request("POST", "/jobs", json.dumps(job).encode() + b"\n" + content)
    until(lambda: agent.running() == "0" * 32, "the job")
    agent.request("DELETE", f"/jobs/{'0' * 32}")
    until(lambda: agent.running() is None, "stopped")


def test_the_queue_is_bounded_and_a_full_one_says_so(agent: Agent, large: Path) -> None:
    codes = []
    for number in range(11):
        job, content = job_for(large, id=f"{number:032x}", protocol=ENDLESS)
        codes.append(agent.request("POST", "/jobs", json.dumps(job).encode() + b"\n" + content)[0])
        until(lambda: agent.running() is not None, "the first job")
    assert codes == [202] * 9 + [503] * 2  # one that runs, eight that wait
    for number in reversed(range(11)):
        agent.request("DELETE", f"/jobs/{number:032x}")
    until(lambda: agent.running() is None, "empty again")


@pytest.mark.parametrize("given", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", "é" * 20])
@pytest.mark.parametrize("path", ["/health", "/fingerprint", "/jobs/0"])
def test_nothing_is_told_without_the_token(agent: Agent, path: str, given: str | None) -> None:
    if given is not None and not given.isascii():
        given = given.encode().decode("latin-1")
    for method in ("GET", "DELETE", "POST"):
        code, answer = agent.request(method, path, token=given)
        assert (code, answer) == (401, {"error": "wrong or missing token."})


def test_a_wrong_token_is_said_to_be_wrong(agent: Agent, small: Path) -> None:
    with pytest.raises(DeviceError, match=r"wrong or missing token.*agent_token_env"):
        agent.client(token="not-the-token-that-it-wants").machine("onnxruntime")


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "another schema": ({"schema": "x"}, "schema"),
    "a path for an id": ({"id": "../../../../../../../tmp/evil0000"}, "id"),
    "another kind": ({"kind": "pickle"}, "kind"),
    "a list for a kind": ({"kind": ["run"]}, "kind"),
    "an unknown backend": ({"backend": "os"}, "backend"),
    "no threads": ({"threads": 0}, "threads"),
    "true threads": ({"threads": True}, "threads"),
    "no unit": ({"unit": None}, "unit"),
    "a unit that the runtime has not": ({"unit": "GPU"}, "unit must be one of CPU"),
    "a path for a unit": ({"backend": "openvino", "unit": "GPU.1/.."}, "unit"),
    "no time": ({"seconds": float("nan")}, "seconds"),
    "endless time": ({"seconds": float("inf")}, "seconds"),
    "no files": ({"files": []}, "files"),
    "a path for a name": ({"files": [{"name": "../x", "bytes": 1, "sha256": ""}]}, "files: name"),
    "a hidden name": ({"files": [{"name": ".x", "bytes": 1, "sha256": ""}]}, "files: name"),
    "the agent's own name": (
        {"files": [{"name": "answer.json", "bytes": 1, "sha256": ""}], "model": "answer.json"},
        "own",
    ),
    "one name twice": ({"files": [{"name": "x", "bytes": 1, "sha256": ""}] * 2}, "differ"),
    "another model": ({"model": "y.onnx"}, "model"),
    "a list for a model": ({"model": []}, "model"),
    "a number for a file": ({"files": [7]}, "files"),
    "no protocol": ({"protocol": None}, "protocol"),
    "an endless protocol": ({"protocol": ENDLESS | {"blocks": 10**9}}, "blocks"),
    "a protocol without an end": ({"protocol": ENDLESS | {"time_limit_s": 0}}, "time_limit_s"),
    "a protocol of another version": (
        {"protocol": {"blocks": 3, "calls": 5, "max_spread": 0.5}},
        "exactly",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_job_with_something_wrong_in_it_is_refused_by_the_fields_name(
    change: str, small: Path
) -> None:
    changes, word = CHANGES[change]
    job, _ = job_for(small)
    check_job(job)
    with pytest.raises(JobError, match=word):
        check_job(job | changes)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b"\x80\x04.\n", "not JSON"),
        (b"{}\n", "schema"),
        (b"null", "object"),
    ],
)
def test_what_is_no_job_is_refused_and_the_agent_lives(
    agent: Agent, body: bytes, word: str
) -> None:
    code, answer = agent.request("POST", "/jobs", body)
    assert code == 400
    assert word in answer["error"]
    assert agent.request("GET", "/health")[0] == 200


def test_damaged_short_and_too_large_uploads_are_refused(agent: Agent, small: Path) -> None:
    job, content = job_for(small)
    damaged = bytes([content[0] ^ 1]) + content[1:]
    code, answer = agent.request("POST", "/jobs", json.dumps(job).encode() + b"\n" + damaged)
    assert (code, "damaged" in answer["error"]) == (400, True)
    code, answer = agent.request("POST", "/jobs", json.dumps(job).encode() + b"\n" + content[:-1])
    assert (code, "not as long" in answer["error"]) == (400, True)
    with socket.create_connection(("127.0.0.1", agent.port), timeout=10) as line:
        line.sendall(
            b"POST /jobs HTTP/1.1\r\nAuthorization: Bearer " + TOKEN.encode()
            + b"\r\nContent-Length: 99999999999\r\n\r\n"
        )  # fmt: skip
        assert b"past the limit" in line.makefile("rb").read()
    assert agent.running() is None


def test_an_agent_without_a_good_token_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(JobError, match=f"at least {LEAST_TOKEN}.*{TOKEN_VARIABLE}"):
        read_token(None)
    (tmp_path / "token").write_text("short\n")
    with pytest.raises(JobError, match="at least"):
        read_token(tmp_path / "token")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token") == TOKEN
    with pytest.raises(JobError, match="cannot be read"):
        read_token(tmp_path / "nowhere")
