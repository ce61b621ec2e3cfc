"""Provenance record and signature of each bundle, written after a run.

Neither may be a stage output: a bundle is reproducible from its inputs, while the git revision
changes without them and ECDSA signatures are not deterministic. Both lie beside the archive.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundles.read import read_bundle
from bundles.signature import sign, signature_file, signed_by
from bundles.summary import BundleSummary
from core.files import sha256_file, write_json
from pipelines.graph import PARAMS
from pipelines.repair import LOCK

SCHEMA = "netwright/provenance/1"
SUFFIX = ".provenance.json"
MAX_LISTED = 50
"""Largest number of changed files that are listed; all of them are counted."""


def attest(root: Path, summaries: Mapping[str, BundleSummary], key: str | None) -> None:
    """Write the provenance record of each bundle, and sign those that passed the gate.

    Call it when DVC has found all bundles up to date, so that the state of the repository is
    theirs. An outdated signature is removed; without a `key` no bundle is signed.

    Raises:
        BundleError: an archive is not a valid bundle; it is not signed.
        UserError: the key cannot sign.
    """
    state = repository_state(root)
    for row in summaries.values():
        archive = root / row.bundle
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
        if key is None or not row.passed:
            signature_file(archive).unlink(missing_ok=True)
        elif not signed_by(archive, root / key):
            sign(archive, root / key)


def repository_state(root: Path) -> dict[str, Any]:
    """The current state of the repository and of the environment, as JSON values."""
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
    """A package's name and version, without the slow parsing of all its metadata."""
    text = package.read_text("METADATA") or ""
    name, version = (re.search(rf"^{key}: (.+)$", text, re.M) for key in ("Name", "Version"))
    if name is None or version is None:
        return package.name, package.version
    return name[1].strip(), version[1].strip()


def git_state(root: Path) -> dict[str, Any]:
    """Revision and uncommitted changes; None, with the reason, where git does not know.

    The lock file is left out: every run may write it, and its hash is recorded separately.
    """
    unknown: dict[str, Any] = {
        "revision": None,
        "dirty": None,
        "changed_files": None,
        "changed": [],
    }
    try:
        # A copy that was unpacked inside another repository must not record that one's revision.
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
        "changed": [line[3:] for line in changed[:MAX_LISTED]],
        "why_unknown": None,
    }


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
