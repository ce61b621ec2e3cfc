"""After a run: from which revision each bundle came, and the signature of whoever vouches for it.

Neither may be an output of a stage. The revision changes while a bundle's inputs do not, and a
signature is another one every time; a bundle is the same bytes from the same inputs. Both are
files beside the archive, which DVC is told to overlook.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.graph import PARAMS
from pipelines.mending import LOCK
from stages.bundle.read import read_bundle
from stages.bundle.signature import sign, signature_file, signed_by
from stages.common.files import sha256_file, write_json

SCHEMA = "netwright/provenance/1"
SUFFIX = ".provenance.json"
MOST_CHANGED = 50
"""Changed files that are listed; all of them are counted."""


def attest(root: Path, summaries: Mapping[str, Mapping[str, Any]], key: str | None) -> None:
    """Record where bundles come from, and sign those that passed the gate.

    DVC has just found every one of them up to date, so what is true of the repository now is true
    of them. A signature that no longer holds is removed.

    Args:
        root: the repository.
        summaries: each device's `bundle.json`.
        key: `bundle.signing_key`, or None.

    Raises:
        BundleError: an archive is not a good bundle; it is not signed.
        SignatureError: the key cannot sign.
    """
    state = repository_state(root)
    for row in summaries.values():
        archive = root / row["bundle"]
        content = read_bundle(archive).manifest
        record = {
            **state,
            "bundle": archive.name,
            "sha256": sha256_file(archive),
            "reproducible_sha256": content.reproducible_sha256,
            "dataset": content.provenance.dataset,
            "dataset_sha256": content.provenance.dataset_sha256,
        }
        write_json(archive.with_name(archive.name + SUFFIX), SCHEMA, record)
        if key is None or not row["passed"]:
            signature_file(archive).unlink(missing_ok=True)
        elif not signed_by(archive, root / key):
            sign(archive, root / key)


def repository_state(root: Path) -> dict[str, Any]:
    """The repository and this environment, as they are now, as JSON values."""
    lock = root / LOCK
    versions = dict(_name_and_version(d) for d in importlib.metadata.distributions())
    return {
        "git": git_state(root),
        "params_sha256": sha256_file(root / PARAMS),
        "dvc_lock_sha256": sha256_file(lock) if lock.is_file() else None,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": dict(sorted(versions.items())),
    }


def _name_and_version(package: importlib.metadata.Distribution) -> tuple[str, str]:
    """A package's name and version, from two lines: parsing all of its record takes long."""
    text = package.read_text("METADATA") or ""
    name, version = (re.search(rf"^{key}: (.+)$", text, re.M) for key in ("Name", "Version"))
    if name is None or version is None:
        return package.name, package.version
    return name[1].strip(), version[1].strip()


def git_state(root: Path) -> dict[str, Any]:
    """Revision, and what of the tree is not in it; None, and why, where git cannot tell.

    The lock file counts for nothing: every run may write it, and it has a hash of its own.
    """
    unknown: dict[str, Any] = {
        "revision": None,
        "dirty": None,
        "changed_files": None,
        "changed": [],
    }
    try:
        # A download that was unpacked inside some other repository is no revision of that one.
        _git(root, "ls-files", "--error-unmatch", "--", PARAMS)
        revision = _git(root, "rev-parse", "--verify", "HEAD").strip()
        changed = _git(root, "status", "--porcelain", "--", ".", f":(exclude){LOCK}").splitlines()
    except FileNotFoundError:
        return {**unknown, "why_unknown": "git is not installed"}
    except subprocess.CalledProcessError as error:
        return {**unknown, "why_unknown": f"git says: {error.stderr.strip()}"}
    return {
        "revision": revision,
        "dirty": bool(changed),
        "changed_files": len(changed),
        "changed": [line[3:] for line in changed[:MOST_CHANGED]],
        "why_unknown": None,
    }


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
