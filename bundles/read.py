"""Read a bundle: its archive, manifest and hashes are checked before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bundles.archive import Archive, BundleError, read_archive
from bundles.manifest import MANIFEST, Manifest, read_manifest


@dataclass(frozen=True)
class Bundle(Archive):
    """An archive whose files have the hashes of its manifest."""

    manifest: Manifest

    @contextmanager
    def unpacked(self) -> Iterator[Path]:
        """Write the files to a private temporary folder, for runtimes that read from disk."""
        with TemporaryDirectory(prefix="netwright-") as name:
            folder = Path(name)
            for file, content in self.files.items():
                (folder / file).write_bytes(content)
            yield folder


def read_bundle(path: Path) -> Bundle:
    """Read an archive and check its format, file names, manifest and hashes.

    Raises:
        BundleError: a check failed.
    """
    archive = read_archive(path)
    return check_hashes(archive, read_manifest(archive))


def check_hashes(archive: Archive, manifest: Manifest) -> Bundle:
    """Compare the files with the manifest's list.

    Raises:
        BundleError: a file is missing, not listed, or has another hash.
    """
    listed = manifest.files
    found = {n: hashlib.sha256(b).hexdigest() for n, b in archive.files.items() if n != MANIFEST}
    problems = [f"'{name}' is missing" for name in sorted(listed.keys() - found.keys())]
    problems += [f"'{name}' is not listed" for name in sorted(found.keys() - listed.keys())]
    both = sorted(found.keys() & listed.keys())
    problems += [f"'{name}' has another SHA-256" for name in both if found[name] != listed[name]]
    if problems:
        raise BundleError(
            f"{archive.path}: its files do not match its manifest: {', '.join(problems)}. Use the "
            "original bundle."
        )
    return Bundle(archive.path, archive.files, archive.size_bytes, manifest)
