"""The environment of this program and of all it starts: which of the user's variables reach whom.

A variable that is meant for another program (a hook's `GIT_DIR`, another Prefect's settings, a
proxy to the internet) must not change what a run does or claims. This module alone decides.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from urllib.parse import urlsplit

SERVER = "PREFECT_API_URL"
"""Names a Prefect server of the user's own."""
_ITS_OWN = frozenset(
    f"PREFECT_{name}"
    for name in (
        "API_URL", "API_KEY", "API_AUTH_STRING", "API_SSL_CERT_FILE",
        "API_TLS_INSECURE_SKIP_VERIFY", "CLIENT_CUSTOM_HEADERS",
    )
)  # fmt: skip
"""How the user's own Prefect server is reached; everything else is Prefect's, and ours to set."""
_ELSEWHERE = frozenset(
    f"GIT_{name}"
    for name in (
        "ALTERNATE_OBJECT_DIRECTORIES", "COMMON_DIR", "DIR", "GRAFT_FILE", "IMPLICIT_WORK_TREE",
        "INDEX_FILE", "NAMESPACE", "NO_REPLACE_OBJECTS", "OBJECT_DIRECTORY", "PREFIX",
        "REPLACE_REF_BASE", "SHALLOW_FILE", "WORK_TREE",
    )
)  # fmt: skip
"""What git sets for its hooks (`git rev-parse --local-env-vars`): it names another repository."""
_OF_PYTHON = frozenset({"PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE", "PYTHONPYCACHEPREFIX"})
_OF_DVC = frozenset({"DVC_GLOBAL_CONFIG_DIR", "DVC_SITE_CACHE_DIR", "DVC_SYSTEM_CONFIG_DIR"})
"""Where the user keeps things; all other variables of Python and DVC change what they do."""
_INTERNET = frozenset(
    {
        *(f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL", "FTP", "NO")),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"),
    }
)
_KEPT = "NETWRIGHT_INTERNET"
"""What was taken away from this process for the stages, as JSON: downloads need it."""


def settle(environment: MutableMapping[str, str]) -> None:
    """Take out of this process's environment what is meant for other programs.

    Call it before Git, DVC or Prefect are imported: they read it in this process, too.
    """
    foreign = SERVER in environment
    for name in list(environment):
        if (
            name in _ELSEWHERE
            or (name.startswith("PYTHON") and name not in _OF_PYTHON)
            or (name.startswith("DVC_") and name not in _OF_DVC)
            or (name.startswith("PREFECT_") and not (foreign and name in _ITS_OWN))
        ):
            del environment[name]
    environment["DVC_NO_ANALYTICS"] = "1"


def settle_warnings(environment: Mapping[str, str]) -> None:
    """Let the libraries' warnings be warnings, whatever PYTHONWARNINGS makes of them."""
    if environment.get("PYTHONWARNINGS"):
        warnings.resetwarnings()
        for category in (DeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        warnings.simplefilter("ignore", PendingDeprecationWarning)


def talk_to_this_machine(environment: MutableMapping[str, str]) -> None:
    """Keep proxies and certificates away from what this process asks a server on the loopback.

    They are meant for the internet; the stages get them back. A server of the user's on another
    machine (`PREFECT_API_URL`) may need them and keeps them.
    """
    if SERVER in environment and not _on_loopback(environment[SERVER]):
        return
    taken = {name: environment[name] for name in environment if name.upper() in _INTERNET}
    if taken:
        environment[_KEPT] = json.dumps(taken)
    for name in taken:
        del environment[name]


def stage_environment(base: Mapping[str, str]) -> dict[str, str]:
    """The environment of a stage: this interpreter's programs first, nothing sent anywhere."""
    result = dict(base)
    settle(result)
    result |= json.loads(result.pop(_KEPT, "{}"))
    programs = str(Path(sys.executable).parent)
    path = base.get("PATH", "")
    return {
        **{name: value for name, value in result.items() if not name.startswith("PREFECT")},
        "PATH": f"{programs}{os.pathsep}{path}" if path else programs,
        # DVC hands the command to it, and a user's may be no shell (/usr/sbin/nologin) or fish.
        "SHELL": "/bin/sh",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def prefect_settings(home: Path, console_level: str) -> dict[str, str]:
    """Settings of every Prefect of ours, client and server: files in `home`, nothing sent out."""
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": console_level,
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }


def server_environment(base: Mapping[str, str], home: Path, url: str, ui: bool) -> dict[str, str]:
    """The environment of our own Prefect server at `url`; without `ui` it lasts one run."""
    result = {name: value for name, value in base.items() if not name.startswith("PREFECT")}
    result |= prefect_settings(home, "CRITICAL")
    # Its page asks the API at the standard port unless it is told another.
    result |= {SERVER: f"{url}/api", "PREFECT_SERVER_UI_API_URL": f"{url}/api"}
    if not ui:
        result |= {"PREFECT_SERVER_UI_ENABLED": "false", "PREFECT__SERVER_EPHEMERAL": "1"}
    return result | {"PREFECT__SERVER_FINAL": "1"}


def _on_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "localhost" or host == "::1" or host.startswith("127.")
