"""The agent's HTTP server. Every request needs the token.

Requests carry JSON and model files, never pickles.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .jobs import SCHEMA, JobError, check_job
from .machine import RUNTIMES, machine
from .queue import FullError, Jobs, Limits

TOKEN_VARIABLE = "NETWRIGHT_AGENT_TOKEN"
LEAST_TOKEN = 16
_HEADER_BYTES = 1 << 16
_CHUNK = 1 << 20
_CONNECTIONS = 16


class Server(ThreadingHTTPServer):
    """The agent's server; closes connections above `_CONNECTIONS`."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], token: str, jobs: Jobs) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)
        self.token, self.jobs = token.encode(), jobs
        self._room = threading.BoundedSemaphore(_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in its own thread, if fewer than `_CONNECTIONS` are open."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, then release its slot."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()


class Handler(BaseHTTPRequestHandler):
    """The four requests: GET /health, GET /fingerprint, POST /jobs, GET or DELETE /jobs/ID."""

    server: Server
    timeout = 30  # seconds without data from the sender
    _unread = 0

    def do_GET(self) -> None:
        """Return the state of the queue, the machine, or the state of a job."""
        if not self._authorised():
            return
        if self.path == "/health":
            self._send(200, self.server.jobs.health())
        elif self.path == "/fingerprint":
            runtimes = {name: machine(kind) for name, kind in RUNTIMES.items()}
            self._send(200, {"schema": SCHEMA, "runtimes": runtimes})
        else:
            state = self.server.jobs.state(self.path.removeprefix("/jobs/"))
            self._send(*((404, {"error": "unknown"}) if state is None else (200, state)))

    def do_DELETE(self) -> None:
        """Cancel a job."""
        if self._authorised():
            self.server.jobs.cancel(self.path.removeprefix("/jobs/"))
            self._send(200, {})

    def do_POST(self) -> None:
        """Queue a job: one line of JSON, then the concatenated files."""
        if not self._authorised():
            return
        jobs = self.server.jobs
        try:
            self._check_length(jobs.limits)
            jobs.check_room()
            job = self._header()
            if jobs.state(job["id"]) is None:  # a retry after a lost answer is not queued again
                self._store(job, jobs)
            self._send(202, {"id": job["id"]})
        except FullError:
            self._refuse(503, "the queue is full; try again.")
        except JobError as error:
            self._refuse(400, str(error))
        except OSError as error:
            self.log_error("upload interrupted: %s", error)

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Do not log successful GET requests: clients poll."""
        if self.command != "GET" or int(code) >= 400:
            super().log_request(code, size)

    def log_message(self, format: str, *args: Any) -> None:
        """Log one line per request; escapes line breaks, so that none can be forged."""
        text = (format % args).encode("ascii", "backslashreplace").decode()
        print(f"{self.address_string()} {text.translate({10: ' ', 13: ' '})}", file=sys.stderr)

    def _authorised(self) -> bool:
        given = self.headers.get("Authorization", "").encode("utf-8", "replace")
        if hmac.compare_digest(given, b"Bearer " + self.server.token):
            return True
        self._send(401, {"error": "wrong or missing token."})
        return False

    def _check_length(self, limits: Limits) -> None:
        text = self.headers.get("Content-Length", "")
        if self.path != "/jobs" or not text.isascii() or not text.isdigit():
            raise JobError("POST /jobs needs a Content-Length")
        if int(text) > limits.megabytes * 1_000_000:
            raise JobError(f"{int(text):,} bytes are past the limit of {limits.megabytes} MB")
        self._unread = int(text)

    def _header(self) -> dict[str, Any]:
        line = self.rfile.readline(min(self._unread, _HEADER_BYTES))
        self._unread -= len(line)
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise JobError(f"invalid job: its first line is not JSON ({error}).") from error
        job = check_job(content)
        if self._unread != sum(file["bytes"] for file in job["files"]):
            raise JobError("the files are not as long as the job states")
        return job

    def _store(self, job: dict[str, Any], jobs: Jobs) -> None:
        folder = jobs.root / job["id"]
        folder.mkdir(mode=0o700)
        until = time.monotonic() + jobs.limits.seconds
        try:
            for file in job["files"]:
                self._receive(folder / file["name"], file, until)
            jobs.add(job)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _receive(self, path: Path, file: dict[str, Any], until: float) -> None:
        digest, left = hashlib.sha256(), file["bytes"]
        with path.open("wb") as target:
            while left:
                piece = self.rfile.read(min(left, _CHUNK))
                self._unread -= len(piece)
                if not piece or time.monotonic() > until:
                    raise JobError(f"{file['name']}: the upload was interrupted or took too long")
                target.write(piece)
                digest.update(piece)
                left -= len(piece)
        if digest.hexdigest() != file["sha256"]:
            raise JobError(f"{file['name']} arrived damaged: SHA-256 mismatch")

    def _refuse(self, code: int, message: str) -> None:
        """Reply with an error after reading the rest of the request, which clients expect."""
        until = time.monotonic() + self.timeout
        with contextlib.suppress(OSError):
            while self._unread > 0 and time.monotonic() < until:
                piece = self.rfile.read(min(self._unread, _CHUNK))
                if not piece:
                    break
                self._unread -= len(piece)
        self._send(code, {"error": message})

    def _send(self, code: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


def read_token(file: Path | None) -> str:
    """Read the token from a file or the environment.

    Raises:
        JobError: it is missing or too short.
    """
    try:
        text = os.environ.get(TOKEN_VARIABLE, "") if file is None else file.read_text("utf-8")
    except OSError as error:
        raise JobError(f"the token's file {file} cannot be read: {error}") from error
    if len(text.strip()) < LEAST_TOKEN or not text.strip().isascii():
        raise JobError(
            f"the agent needs a token of at least {LEAST_TOKEN} ASCII characters, from "
            f"--token-file or {TOKEN_VARIABLE}; {file or TOKEN_VARIABLE} has none. Create one: "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return text.strip()


def serve(host: str, port: int, token: str, limits: Limits) -> None:
    """Serve until interrupted. Prints the port once it listens."""
    with tempfile.TemporaryDirectory(
        prefix="netwright-agent-", ignore_cleanup_errors=True
    ) as folder:
        jobs = Jobs(Path(folder), limits)
        with Server((host, port), token, jobs) as server:
            print(f"listening on {host}:{server.server_address[1]}", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print("stopped.", flush=True)
