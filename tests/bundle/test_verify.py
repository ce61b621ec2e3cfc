import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.images import ImageError
from stages.bundle.archive import pack
from stages.bundle.errors import BundleError
from stages.bundle.manifest import to_bytes
from stages.bundle.read import Limits, read_archive, read_bundle
from stages.bundle.verify import predict, verify


def saved(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(content)
    return path


def files_of(bundle: Path) -> dict[str, bytes]:
    return dict(read_bundle(bundle).files)


def forged(bundle: Path, change) -> bytes:
    """A bundle whose manifest was edited and its digest made anew: only the rules can catch it."""
    files = files_of(bundle)
    content = json.loads(files["manifest.json"])
    change(content, files)
    del content["schema"], content["digest"]
    files["manifest.json"] = to_bytes(content)
    return pack(files)


@pytest.mark.parametrize("device", ["cpu", "edge"])
def test_a_good_bundle_passes_every_check(bundles, device):
    verification = verify(bundles[device])
    assert [check.name for check in verification.checks] == [
        "archive",
        "manifest",
        "hashes",
        "golden",
        "limits",
    ]
    assert verification.passed, verification.to_json()


def test_a_bundle_whose_runtime_is_not_here_is_checked_by_its_portable_file_and_says_so(bundles):
    golden, limits = verify(bundles["gpu"]).checks[-2:]
    assert golden.passed
    assert "ONNX Runtime" in golden.detail
    assert "No NVIDIA GPU" in golden.detail
    assert not limits.passed
    assert "latency was not measured" in limits.detail


def test_predict_names_the_class_and_its_probability(world, bundles, tmp_path):
    images_NHWC = np.load(world.root / "data" / "test.images.npy")
    labels_N = np.load(world.root / "data" / "test.labels.npy")
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for path, image_HWC in zip(paths, images_NHWC, strict=False):
        Image.fromarray(image_HWC[..., 0]).save(path)
    for device in ("cpu", "edge", "gpu"):
        found = predict(bundles[device], paths)
        hits = [name == str(k) for (name, _), k in zip(found, labels_N, strict=False)]
        assert sum(hits) >= 7  # by chance 2; the network learned for seconds
        assert all(0 < probability <= 1 for _, probability in found)


def test_predict_refuses_what_is_no_image(bundles, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"no image")
    with pytest.raises(ImageError):
        predict(bundles["cpu"], [path])


def mutations(bundle: bytes) -> list[tuple[str, bytes]]:
    """Forty ways to damage an archive: bits flipped anywhere, cuts, and bytes added."""
    rng = np.random.default_rng(0)
    made: list[tuple[str, bytes]] = []
    header_bits = [8 * byte + bit for byte, bit in ((0, 0), (3, 4), (4, 0), (8, 1), (9, 7))]
    flips = header_bits + rng.integers(0, 8 * len(bundle), 17).tolist()
    flips += [8 * (len(bundle) - 8), 8 * (len(bundle) - 1)]  # CRC and length
    for position in flips:
        content = bytearray(bundle)
        content[position // 8] ^= 1 << position % 8
        made.append((f"bit {position}", bytes(content)))
    for length in (0, 1, 9, 10, 600, len(bundle) // 2, len(bundle) - 9, len(bundle) - 1):
        made.append((f"cut at {length}", bundle[:length]))
    made += [
        ("zero byte added", bundle + b"\0"),
        ("second gzip member", bundle + gzip.compress(b"more")),
        ("recompressed", gzip.compress(gzip.decompress(bundle))),
        ("not gzip", gzip.decompress(bundle)),
        ("tar without end", gzip.compress(gzip.decompress(bundle).rstrip(b"\0"))),
        ("bytes after the tar's end", gzip.compress(gzip.decompress(bundle) + b"x" * 512)),
        ("empty gzip", gzip.compress(b"")),
        ("text", b"hello"),
    ]
    return made


def test_forty_damaged_archives_are_all_refused_and_none_crashes(bundles, tmp_path):
    damaged = mutations(bundles["cpu"].read_bytes())
    assert len(damaged) >= 40
    for name, content in damaged:
        path = saved(tmp_path, content)
        verification = verify(path)
        assert not verification.passed, name
        assert str(path) in verification.checks[-1].detail, name
        with pytest.raises(BundleError):
            predict(path, [])


def member(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"x", link: str = ""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, content


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (member("../evil"), r"\.\./evil"),
        (member("/etc/evil"), "/etc/evil"),
        (member("a/b"), "a/b"),
        (member(".."), r"'\.\.'"),
        (member("C:evil"), "C:evil"),
        (member("new\nline"), "not allowed"),
        (member("link", tarfile.SYMTYPE, link="/etc/passwd"), "symbolic link"),
        (member("link", tarfile.LNKTYPE, link="run.py"), "hard link"),
        (member("device", tarfile.CHRTYPE), "no plain file"),
        (member("pipe", tarfile.FIFOTYPE), "no plain file"),
        (member("folder", tarfile.DIRTYPE), "no plain file"),
        (member("run.py"), "twice"),
        (member("extra.txt"), "not those that bundles are written"),
    ],
    ids=lambda value: value[0].name if isinstance(value, tuple) else "",
)
def test_hostile_members_are_refused_by_name(bundles, tmp_path, extra, message):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files_of(bundles["cpu"]).items()):
            info, data = member(name, content=content)
            archive.addfile(info, io.BytesIO(data))
        archive.addfile(extra[0], io.BytesIO(extra[1]))
    verification = verify(saved(tmp_path, buffer.getvalue()))
    assert not verification.passed
    (check,) = verification.checks
    assert __import__("re").search(message, check.detail), check.detail


def test_an_archive_that_unpacks_without_end_is_refused_while_unpacking(tmp_path):
    path = saved(tmp_path, gzip.compress(bytes(50_000_000)))
    with pytest.raises(BundleError, match="unpacks to more"):
        read_archive(path, Limits(unpacked_bytes=1_000_000))


def test_an_archive_of_several_pieces_is_read_whole_and_not_a_byte_beyond(tmp_path):
    content = np.random.default_rng(0).bytes(300_000)
    packed = pack({"a.bin": content})
    assert read_archive(saved(tmp_path, packed), Limits()) == ({"a.bin": content}, len(packed))
    with pytest.raises(BundleError, match="200000 bytes after its end"):
        read_archive(saved(tmp_path, packed + bytes(200_000)), Limits())
    with pytest.raises(BundleError, match="cut off"):
        read_archive(saved(tmp_path, packed[:-100_000]), Limits())


def test_too_many_files_are_refused(tmp_path):
    path = saved(tmp_path, pack({f"f{i}": b"" for i in range(100)}))
    with pytest.raises(BundleError, match="more than the 64 files"):
        read_archive(path, Limits())


def drop(name):
    return lambda content, files: files.pop(name)


def put(*keys, value):
    def change(content, files):
        *path, last = keys
        for key in path:
            content = content[key]
        content[last] = value

    return change


def swap(content, files):
    files["run.py"], files["labels.json"] = files["labels.json"], files["run.py"]


def pickled(content, files):
    import hashlib

    buffer = io.BytesIO()
    np.savez(buffer, images=np.array([{}], object), inputs=np.zeros(1))
    files["golden.npz"] = buffer.getvalue()
    content["files"]["golden.npz"] = hashlib.sha256(buffer.getvalue()).hexdigest()


def broken_model(content, files):
    import hashlib

    files["model.onnx"] = b"\x08\x07" + files["model.onnx"][2:-50]
    content["files"]["model.onnx"] = hashlib.sha256(files["model.onnx"]).hexdigest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("labels.json"), "missing: labels.json"),
        (lambda content, files: files.update(new=b""), "not listed in its manifest: new"),
        (swap, "'labels.json' is not the file"),
        (put("accuracy", "delivered", value=1.5), "accuracy.delivered"),
        (put("accuracy", "delivered", value="high"), "accuracy.delivered"),
        (put("surprise", value=1), "surprise"),
        (put("precision", value="int4"), "precision"),
        (put("device", "backend", value="teapot"), "teapot"),
        (put("device", "budget", value={}), "device.budget"),
        (put("model", "entry", value="../../etc/passwd"), "names model files"),
        (put("files", "run.py", value="0" * 64), "run.py"),
        (put("golden", "images", value=5), "golden.npz"),
        (put("accuracy", "delivered", value=0.1), "accuracy 0.1000 is below"),
        (put("latency_ms", "measured", value=60.0), "over the budget of 50 ms"),
        (pickled, "golden.npz"),
        (broken_model, "model.onnx"),
    ],
)
def test_a_forged_manifest_does_not_help(bundles, tmp_path, change, message):
    verification = verify(saved(tmp_path, forged(bundles["cpu"], change)))
    assert not verification.passed
    broken = [check.detail for check in verification.checks if not check.passed]
    assert any(message in detail for detail in broken), broken


def test_an_edited_manifest_is_noticed(bundles, tmp_path):
    files = files_of(bundles["cpu"])
    files["manifest.json"] = files["manifest.json"].replace(b'"name": "cpu"', b'"name": "fpu"')
    (archive, manifest) = verify(saved(tmp_path, pack(files))).checks
    assert archive.passed
    assert "changed after it was written" in manifest.detail


def test_nothing_is_written_for_a_refused_bundle(bundles, tmp_path, monkeypatch):
    content = bytearray(bundles["cpu"].read_bytes())
    content[len(content) // 2] ^= 1
    path = saved(tmp_path, bytes(content))

    def forbidden(*arguments, **named):
        raise AssertionError("a refused bundle was unpacked")

    monkeypatch.setattr("stages.bundle.read.TemporaryDirectory", forbidden)
    assert not verify(path).passed


def test_a_missing_bundle_is_refused(tmp_path):
    (check,) = verify(tmp_path / "none.tar.gz").checks
    assert "no such bundle" in check.detail
