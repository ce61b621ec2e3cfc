"""The format of archives, and what is refused before a manifest is read."""

import gzip
import io
import os
import subprocess
import tarfile

import numpy as np
import pytest

from bundles.archive import MAX_BYTES, BundleError, _stored_gzip, pack, read_archive
from bundles.check.verify import verify
from tests.bundles.forging import files_of, saved


def test_an_archive_is_a_plain_tar_gz_without_owner_and_time(tmp_path):
    packed = pack({"b.txt": b"two", "a.txt": b"one" * 50_000})
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        members = archive.getmembers()
        content = [archive.extractfile(member).read() for member in members]
    assert content == [b"one" * 50_000, b"two"]
    assert [m.name for m in members] == ["a.txt", "b.txt"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "", "", 0o644)
    }
    file = tmp_path / "x.tar.gz"
    file.write_bytes(packed)
    assert subprocess.run(["tar", "-tzf", file], capture_output=True, check=True).stderr == b""


def member(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"x", link: str = ""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, content


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (member("../evil"), "member name '../evil' is not allowed"),
        (member("/etc/evil"), "member name '/etc/evil'"),
        (member("a/b"), "member name 'a/b'"),
        (member(".."), "member name '..'"),
        (member("C:evil"), "member name 'C:evil'"),
        (member("new\nline"), "is not allowed"),
        (member("link", tarfile.SYMTYPE, link="/etc/passwd"), "not a bundle as Netwright writes"),
        (member("link", tarfile.LNKTYPE, link="run.py"), "not a bundle as Netwright writes"),
        (member("device", tarfile.CHRTYPE), "not a bundle as Netwright writes"),
        (member("folder", tarfile.DIRTYPE), "not a bundle as Netwright writes"),
        (member("run.py"), "not a bundle as Netwright writes"),
        (member("extra.txt"), "not a bundle as Netwright writes"),
    ],
    ids=lambda value: value[0].name if isinstance(value, tuple) else "",
)
def test_hostile_members_are_refused(bundles, tmp_path, extra, message):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files_of(bundles["cpu"]).items()):
            info, data = member(name, content=content)
            archive.addfile(info, io.BytesIO(data))
        archive.addfile(extra[0], io.BytesIO(extra[1]))
    (check,) = verify(saved(tmp_path, _stored_gzip(buffer.getvalue()))).checks
    assert not check.passed
    assert message in check.detail


def test_a_decompression_bomb_is_refused_without_being_unpacked(tmp_path):
    with pytest.raises(BundleError, match="repacked"):
        read_archive(saved(tmp_path, gzip.compress(bytes(50_000_000))))


def test_an_archive_over_the_size_limit_is_not_read(tmp_path):
    path = saved(tmp_path, b"")
    os.truncate(path, MAX_BYTES + 1)  # sparse
    with pytest.raises(BundleError, match=f"larger than the {MAX_BYTES} bytes"):
        read_archive(path)


def test_an_archive_of_several_blocks_is_read_whole_and_not_a_byte_beyond(tmp_path):
    files = {"a.bin": np.random.default_rng(0).bytes(300_000), "empty": b""}
    packed = pack(files)
    found = read_archive(saved(tmp_path, packed))
    assert (found.files, found.size_bytes) == (files, len(packed))
    for damaged in (packed + bytes(200_000), packed[:-100_000]):
        with pytest.raises(BundleError, match="damaged, truncated or repacked"):
            read_archive(saved(tmp_path, damaged))


def test_too_many_files_are_refused(tmp_path):
    path = saved(tmp_path, pack({f"f{i}": b"" for i in range(100)}))
    with pytest.raises(BundleError, match="more than the 64 files"):
        read_archive(path)


def test_nothing_is_written_for_a_refused_bundle(bundles, tmp_path, monkeypatch):
    content = bytearray(bundles["cpu"].read_bytes())
    content[len(content) // 2] ^= 1
    path = saved(tmp_path, bytes(content))

    def forbidden(*arguments, **named):
        raise AssertionError("a refused bundle was unpacked")

    monkeypatch.setattr("bundles.read.TemporaryDirectory", forbidden)
    assert not verify(path).passed


def test_a_missing_bundle_is_refused(tmp_path):
    (check,) = verify(tmp_path / "none.tar.gz").checks
    assert "no such bundle" in check.detail
