"""Hundreds of damaged and forged bundles: all refused without a crash or a stray write.

Consistent forgeries, which only a signature detects, are in test_signature.py.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bundles.archive import BundleError, _stored_gzip
from bundles.check.run import predict
from bundles.check.verify import verify
from bundles.manifest import MANIFEST
from pipelines.cli.app import main
from tests.bundles.forging import careless, files_of, hashed, leaves, replace_leaf

BLOCK = 512
Case = tuple[str, bytes]


@pytest.fixture(scope="module")
def genuine(bundles) -> bytes:
    content: bytes = bundles["cpu"].read_bytes()
    assert verify(bundles["cpu"]).passed
    return content


# Records all writes of this process during a test. An audit hook cannot be removed.
WRITES: list[str] | None = None


def hear(event: str, arguments: tuple[object, ...]) -> None:
    if WRITES is None:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            WRITES.append(str(path))
    elif event in {"os.mkdir", "os.rename", "os.symlink", "os.link", "os.truncate"}:
        WRITES.append(str(arguments[0]))


sys.addaudithook(hear)


@pytest.fixture
def writes() -> Iterator[list[str]]:
    global WRITES
    WRITES = []
    yield WRITES
    WRITES = None


def regions(bundle: bytes) -> list[tuple[str, int, int]]:
    """Yield every part of an archive: name, first byte, end."""
    plain, size, second = gzip.decompress(bundle), len(bundle), at(0xFFFF)
    found = [
        ("gzip header", 0, 10),
        ("first block's header", 10, 15),
        ("second block's header", second - 5, second),
        ("checksum", size - 8, size - 4),
        ("length", size - 4, size),
    ]
    position = 0
    while plain[position : position + BLOCK] != bytes(BLOCK):
        member = tarfile.TarInfo.frombuf(plain[position : position + BLOCK], "ascii", "strict")
        data = position + BLOCK
        end, padded = data + member.size, data + -(-member.size // BLOCK) * BLOCK
        parts = [("header", position, data), ("content", data, end), ("padding", end, padded)]
        found += [(f"{n} of {member.name}", at(a), at(b)) for n, a, b in parts if a < b]
        position = padded
    return [*found, ("end of tar", at(position), at(len(plain)))]


def at(position: int) -> int:
    """Map a tar offset to an archive offset: 10 header bytes, and 5 per stored block."""
    return 10 + position + 5 * (position // 0xFFFF + 1)


def flipped_bits(bundle: bytes) -> Iterator[Case]:
    rng = np.random.default_rng(0)
    for name, start, stop in regions(bundle):
        for position in rng.integers(start, stop, 3).tolist():
            content = bytearray(bundle)
            content[position] ^= 1 << int(rng.integers(8))
            yield f"bit in {name}, byte {position}", bytes(content)


def truncations(bundle: bytes) -> Iterator[Case]:
    cuts = {0, 1, 9, len(bundle) - 1, len(bundle) // 2}
    cuts |= {start for _, start, _ in regions(bundle)} | {stop - 1 for *_, stop in regions(bundle)}
    for length in sorted(cuts):
        yield f"cut at {length}", bundle[:length]


def damaged_tar_headers(bundle: bytes) -> Iterator[Case]:
    """Yield hostile values in every field of two headers, with valid checksums."""
    plain = gzip.decompress(bundle)
    first = tarfile.TarInfo.frombuf(plain[:BLOCK], "ascii", "strict")
    second = BLOCK + -(-first.size // BLOCK) * BLOCK
    overlong = b"x" * 100
    fields = {
        "name": (0, [b"../x", b"/etc/x", b"a/b", bytes(100), b"\xff\xfe", b".", overlong]),
        "mode": (100, [b"0000777\0", b"zzzzzzz\0"]),
        "size": (
            124,
            [b"77777777777\0", b"00000000000\0", b"-0000000001\0", b"\x80" + overlong[:11]],
        ),
        "type": (156, [b"1", b"2", b"3", b"5", b"6", b"L", b"x", b"g", b"S", b"\xff"]),
        "link": (157, [b"/etc/passwd\0"]),
        "magic": (257, [b"ustar  \0", b"garbage!"]),
        "prefix": (345, [b"../..\0", b"/\0"]),
    }
    for start, (name, (offset, values)) in itertools.product((0, second), fields.items()):
        for value in values:
            changed = bytearray(plain)
            changed[start + offset : start + offset + len(value)] = value
            changed[start + 148 : start + 156] = b" " * 8
            total = sum(changed[start : start + BLOCK])
            changed[start + 148 : start + 156] = b"%06o\0 " % total
            yield f"{name} {value!r} in the header at {start}", _stored_gzip(bytes(changed))


def damaged_gzip(bundle: bytes) -> Iterator[Case]:
    plain = gzip.decompress(bundle)
    yield "checksum zero", bundle[:-8] + bytes(4) + bundle[-4:]
    yield "length zero", bundle[:-4] + bytes(4)
    yield "length one more", bundle[:-4] + (len(plain) + 1).to_bytes(4, "little")
    yield "a name in the header", bundle[:3] + b"\x08" + bundle[4:10] + b"x\0" + bundle[10:]
    yield "another method", bundle[:2] + b"\x07" + bundle[3:]
    yield "second member", bundle + gzip.compress(b"more")
    yield "twice", bundle + bundle
    yield "byte after the end", bundle + b"\0"
    yield "recompressed", gzip.compress(plain)
    yield "not compressed", plain
    yield "empty", gzip.compress(b"")
    yield "text", b"hello"
    yield "bytes after the tar", gzip.compress(plain + b"x" * BLOCK)
    yield "no end of the tar", _stored_gzip(plain.rstrip(b"\0"))
    yield "bomb", gzip.compress(bytes(5_000_000))
    yield "tar of tars", _stored_gzip(plain[:-1024] + plain)


def swapped_files(path: Path) -> Iterator[Case]:
    """Swap the content of every two files, with old and with recomputed hashes."""
    names = sorted(set(files_of(path)) - {MANIFEST})
    for first, second in itertools.combinations(names, 2):

        def swap(content: object, files: dict[str, bytes], a=first, b=second) -> None:
            files[a], files[b] = files[b], files[a]

        yield f"{first} and {second}", careless(path, swap)
        yield f"{first} and {second}, hashed", hashed(path, swap)


def forged_manifests(path: Path) -> Iterator[Case]:
    """Change every single manifest value, with a recomputed digest."""
    for place in leaves(json.loads(files_of(path)[MANIFEST])):
        name = "manifest." + ".".join(map(str, place))
        yield name, careless(path, lambda content, _, place=place: replace_leaf(content, place))


def forged_files(path: Path) -> Iterator[Case]:
    """Flip a bit of every file, with recomputed hashes in the manifest."""
    rng = np.random.default_rng(1)
    for name in sorted(set(files_of(path)) - {MANIFEST}):
        for _ in range(3):
            bit = int(rng.integers(8 * len(files_of(path)[name])))

            def flip(content: object, files: dict[str, bytes], name=name, bit=bit) -> None:
                changed = bytearray(files[name])
                changed[bit // 8] ^= 1 << bit % 8
                files[name] = bytes(changed)

            yield f"bit {bit} of {name}, hashed", hashed(path, flip)


def refused(path: Path, cases: Iterator[Case], writes: list[str], least: int) -> None:
    """Check that every case is refused with the file's name and without writes."""
    seen: set[str] = set()
    for name, content in cases:
        path.write_bytes(content)
        del writes[:]
        verification = verify(path)
        assert not verification.passed, name
        last = verification.checks[-1]
        assert not last.passed, name
        assert str(path) in last.detail, name
        assert writes == [], name
        seen.add(hashlib.sha256(content).hexdigest())
    assert len(seen) >= least


def test_flipped_bits_are_refused_wherever_they_are(genuine, tmp_path, writes):
    refused(tmp_path / "x.tar.gz", flipped_bits(genuine), writes, 80)


def test_truncated_archives_are_refused(genuine, tmp_path, writes):
    refused(tmp_path / "x.tar.gz", truncations(genuine), writes, 50)


def test_damaged_tar_headers_are_refused(genuine, tmp_path, writes):
    refused(tmp_path / "x.tar.gz", damaged_tar_headers(genuine), writes, 50)


def test_damaged_gzip_layers_are_refused(genuine, tmp_path, writes):
    refused(tmp_path / "x.tar.gz", damaged_gzip(genuine), writes, 16)


def test_swapped_files_are_refused_with_old_and_with_new_hashes(bundles, tmp_path, writes):
    refused(tmp_path / "x.tar.gz", swapped_files(bundles["cpu"]), writes, 42)


def test_no_value_of_a_manifest_can_be_changed_alone(bundles, tmp_path, writes):
    refused(tmp_path / "x.tar.gz", forged_manifests(bundles["cpu"]), writes, 190)


def test_no_file_can_be_changed_alone(bundles, tmp_path, writes):
    refused(tmp_path / "x.tar.gz", forged_files(bundles["cpu"]), writes, 20)


def test_predict_refuses_what_is_damaged(genuine, tmp_path, writes):
    path = tmp_path / "x.tar.gz"
    for name, content in itertools.chain(truncations(genuine), damaged_gzip(genuine)):
        path.write_bytes(content)
        del writes[:]
        with pytest.raises(BundleError):
            predict(path, [])
        assert writes == [], name


def test_the_command_ends_with_1_and_a_sentence(genuine, bundles, tmp_path, monkeypatch, capsys):
    path = tmp_path / "in" / "x.tar.gz"
    path.parent.mkdir()
    cases = [
        *itertools.islice(flipped_bits(genuine), 0, None, 20),
        *itertools.islice(forged_manifests(bundles["cpu"]), 0, None, 60),
        *itertools.islice(damaged_tar_headers(genuine), 0, None, 15),
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name, content in cases:
        path.write_bytes(content)
        monkeypatch.setattr(sys, "argv", ["netwright", "verify", str(path)])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 1, name
        said = capsys.readouterr()
        assert "NOT verified" in said.out, name
        assert "Traceback" not in said.out + said.err, name
        assert sorted(tmp_path.rglob("*")) == [path.parent, path], name
