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
    path, files = archive.path, archive.files
    present, listed = set(files) - {MANIFEST}, set(manifest.files)
    if present != listed:
        missing, unlisted = sorted(listed - present), sorted(present - listed)
        words = [f"missing: {', '.join(missing)}"] if missing else []
        words += [f"not listed in its manifest: {', '.join(unlisted)}"] if unlisted else []
        raise BundleError(f"{path}: its files do not match its manifest ({'; '.join(words)}).")
    for name in sorted(listed):
        if hashlib.sha256(files[name]).hexdigest() != manifest.files[name]:
            raise BundleError(
                f"{path}: '{name}' is not the file that was bundled (its SHA-256 differs from the "
                "manifest's). Use the original bundle."
            )
    return Bundle(path, files, archive.size_bytes, manifest)
