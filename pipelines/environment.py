"""Filters environment variables for this process, the stages and the Prefect server.

Variables meant for other programs (a hook's `GIT_DIR`, settings of another Prefect, a proxy to the
internet) must not change what a run does or records. Only this module decides.
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
"""URL of a Prefect server set by the user."""
_USER_SERVER = frozenset(
    f"PREFECT_{name}"
    for name in (
        "API_URL", "API_KEY", "API_AUTH_STRING", "API_SSL_CERT_FILE",
        "API_TLS_INSECURE_SKIP_VERIFY", "CLIENT_CUSTOM_HEADERS",
    )
)  # fmt: skip
"""Connection settings of a server set by the user; the other Prefect settings are removed."""
_GIT_LOCAL = frozenset(
    f"GIT_{name}"
    for name in (
        "ALTERNATE_OBJECT_DIRECTORIES", "COMMON_DIR", "DIR", "GRAFT_FILE", "IMPLICIT_WORK_TREE",
        "INDEX_FILE", "NAMESPACE", "NO_REPLACE_OBJECTS", "OBJECT_DIRECTORY", "PREFIX",
        "REPLACE_REF_BASE", "SHALLOW_FILE", "WORK_TREE",
    )
)  # fmt: skip
"""Set by git for hooks (`git rev-parse --local-env-vars`); they point to another repository."""
_PYTHON_PATHS = frozenset({"PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE", "PYTHONPYCACHEPREFIX"})
_DVC_PATHS = frozenset({"DVC_GLOBAL_CONFIG_DIR", "DVC_SITE_CACHE_DIR", "DVC_SYSTEM_CONFIG_DIR"})
"""Locations of files; all other variables of Python and DVC change behaviour."""
_PROXIES = frozenset(
    {
        *(f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL", "FTP", "NO")),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"),
    }
)
_SAVED_PROXIES = "NETWRIGHT_INTERNET"
"""Proxy variables removed from this process, as JSON; the stages need them for downloads."""


def remove_foreign_variables(environment: MutableMapping[str, str]) -> None:
    """Remove variables that are meant for other programs.

    Call it before GitPython, DVC or Prefect are imported: they read them at import.
    """
    foreign = SERVER in environment
    for name in list(environment):
        if (
            name in _GIT_LOCAL
            or (name.startswith("PYTHON") and name not in _PYTHON_PATHS)
            or (name.startswith("DVC_") and name not in _DVC_PATHS)
            or (name.startswith("PREFECT_") and not (foreign and name in _USER_SERVER))
        ):
            del environment[name]
    environment["DVC_NO_ANALYTICS"] = "1"


def reset_warnings(environment: Mapping[str, str]) -> None:
    """Restore Python's default warning filters if PYTHONWARNINGS is set."""
    if environment.get("PYTHONWARNINGS"):
        warnings.resetwarnings()
        for category in (DeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        warnings.simplefilter("ignore", PendingDeprecationWarning)


def remove_proxies(environment: MutableMapping[str, str]) -> None:
    """Remove proxy and certificate variables, which break requests to a server on the loopback.

    The stages receive them again. They stay if the user's server is on another machine.
    """
    if SERVER in environment and not _on_loopback(environment[SERVER]):
        return
    taken = {name: environment[name] for name in environment if name.upper() in _PROXIES}
    if taken:
        environment[_SAVED_PROXIES] = json.dumps(taken)
    for name in taken:
        del environment[name]


def stage_environment(base: Mapping[str, str]) -> dict[str, str]:
    """The environment of a stage, with this interpreter's programs first in PATH."""
    result = dict(base)
    remove_foreign_variables(result)
    result |= json.loads(result.pop(_SAVED_PROXIES, "{}"))
    programs = str(Path(sys.executable).parent)
    path = base.get("PATH", "")
    return {
        **{name: value for name, value in result.items() if not name.startswith("PREFECT")},
        "PATH": f"{programs}{os.pathsep}{path}" if path else programs,
        # DVC runs commands with it, and the user's may be fish or /usr/sbin/nologin.
        "SHELL": "/bin/sh",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def prefect_settings(home: Path, console_level: str) -> dict[str, str]:
    """Settings of the local Prefect client and server: files in `home`, no telemetry."""
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": console_level,
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    }


def server_environment(base: Mapping[str, str], home: Path, url: str) -> dict[str, str]:
    """The environment of the local Prefect server at `url`."""
    result = {name: value for name, value in base.items() if not name.startswith("PREFECT")}
    result |= prefect_settings(home, "CRITICAL")
    # The web UI uses the API at the default port unless this is set.
    address = {SERVER: f"{url}/api", "PREFECT_SERVER_UI_API_URL": f"{url}/api"}
    return result | address | {"PREFECT__SERVER_FINAL": "1"}


def _on_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "localhost" or host == "::1" or host.startswith("127.")
