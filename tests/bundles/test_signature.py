"""Signatures of bundles: keys, coverage and refusals."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from bundles import signature
from bundles.archive import BundleError
from bundles.check.verify import verify
from bundles.signature import Trust, load_private_key, sign, signature_file, signed_by
from core.errors import UserError
from tests.bundles.forging import thorough

PEM = serialization.Encoding.PEM


def write_keys(folder: Path, key, password: bytes | None = None) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    hidden = (
        serialization.NoEncryption()
        if password is None
        else serialization.BestAvailableEncryption(password)
    )
    private, public = folder / "key.pem", folder / "key.pub"
    private.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, hidden))
    public.write_bytes(
        key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keys")
    return write_keys(folder, ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def signed(bundles, keys, tmp_path) -> Path:
    bundle = tmp_path / "cpu.tar.gz"
    shutil.copyfile(bundles["cpu"], bundle)
    assert sign(bundle, keys[0]) == tmp_path / "cpu.tar.gz.sig"
    return bundle


def signature_check(bundle: Path, trust: Trust):
    found = verify(bundle, trust=trust)
    return found.checks[0], found


def test_a_signed_bundle_is_verified_with_the_public_key(signed, keys):
    check, found = signature_check(signed, Trust(keys[1], required=True))
    assert (check.name, check.passed) == ("signature", True)
    assert found.passed, found.to_json()


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_all_three_curves_sign(bundles, tmp_path, curve):
    private, public = write_keys(tmp_path / "keys", ec.generate_private_key(curve()))
    bundle = tmp_path / "cpu.tar.gz"
    shutil.copyfile(bundles["cpu"], bundle)
    sign(bundle, private)
    assert Trust(public, required=True).check(bundle).startswith("signed by")


def test_the_projects_own_tool_accepts_the_signature(signed, keys):
    tool = Path(sys.executable).with_name("model_signing")
    arguments = ("--signature", str(signature_file(signed)), "--public_key", str(keys[1]))
    done = subprocess.run(
        [tool, "verify", "key", signed, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "succeeded" in done.stdout


def test_the_archive_stays_the_same_bytes(signed, bundles):
    assert signed.read_bytes() == bundles["cpu"].read_bytes()


def test_another_key_is_refused_before_the_archive_is_read(signed, tmp_path):
    _, other = write_keys(tmp_path / "other", ec.generate_private_key(ec.SECP256R1()))
    for required in (True, False):
        check, found = signature_check(signed, Trust(other, required=required))
        assert not check.passed
        assert len(found.checks) == 1


def test_an_unsigned_bundle_is_refused_only_if_a_signature_is_required(bundles, keys):
    check, found = signature_check(bundles["cpu"], Trust(keys[1]))
    assert found.passed
    assert "not signed" in check.detail
    check, found = signature_check(bundles["cpu"], Trust(keys[1], required=True))
    assert not found.passed
    assert "is not signed: there is no" in check.detail


def other_names(content: dict, files: dict[str, bytes]) -> None:
    swapped = {b'"0"': b'"9"', b'"9"': b'"0"'}
    for name in ("labels.json", "quality.json"):
        files[name] = re.sub(rb'"[09]"', lambda m: swapped[m[0]], files[name])


def test_a_consistent_forgery_is_detected_only_by_the_signature(signed, keys):
    genuine = signed.read_bytes()
    signed.write_bytes(thorough(signed, other_names))
    assert signed.read_bytes() != genuine
    assert verify(signed).passed, "no check of a bundle by itself can find this"
    check, found = signature_check(signed, Trust(keys[1], required=True))
    assert not found.passed
    assert "not a valid signature of this archive" in check.detail
    signature_file(signed).unlink()
    assert not verify(signed, trust=Trust(keys[1], required=True)).passed


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"mediaType": 1}',
        b"[" * 100_000,
        b"x" * (signature.MAX_BYTES + 1),
    ],
    ids=["empty", "no text", "list", "object", "wrong type", "deep", "large"],
)
def test_a_file_that_is_no_signature_is_refused(signed, keys, content):
    signature_file(signed).write_bytes(content)
    check, _ = signature_check(signed, Trust(keys[1]))
    assert not check.passed


def test_every_changed_byte_of_a_signature_is_refused_or_changes_nothing_signed(signed, keys):
    genuine = json.loads(signature_file(signed).read_text())
    envelope = genuine["dsseEnvelope"]
    for field in ("payload", "sig"):
        text = envelope["payload"] if field == "payload" else envelope["signatures"][0]["sig"]
        for place in range(0, len(text) - 4, 7):
            letter = "A" if text[place] != "A" else "B"
            changed = text[:place] + letter + text[place + 1 :]
            other = json.loads(json.dumps(genuine))
            if field == "payload":
                other["dsseEnvelope"]["payload"] = changed
            else:
                other["dsseEnvelope"]["signatures"][0]["sig"] = changed
            signature_file(signed).write_text(json.dumps(other))
            with pytest.raises(BundleError):
                Trust(keys[1]).check(signed)


def test_an_explicit_signature_must_exist(signed, keys, tmp_path):
    moved = tmp_path / "elsewhere.sig"
    signature_file(signed).rename(moved)
    assert verify(signed, trust=Trust(keys[1], moved, True)).passed
    assert not verify(signed, trust=Trust(keys[1], tmp_path / "none.sig")).passed


def test_who_signed_can_be_asked_for(signed, bundles, keys, tmp_path):
    other, _ = write_keys(tmp_path / "other", ec.generate_private_key(ec.SECP256R1()))
    assert signed_by(signed, keys[0])
    assert not signed_by(signed, other)
    assert not signed_by(bundles["cpu"], keys[0])


@pytest.mark.parametrize(
    ("key", "password", "message"),
    [
        (ec.generate_private_key(ec.SECP256R1()), b"secret", "encrypted"),
        (ec.generate_private_key(ec.SECP256K1()), None, "secp256k1, not an elliptic-curve key"),
        (ed25519.Ed25519PrivateKey.generate(), None, "Ed25519PrivateKey, not an elliptic-curve"),
    ],
    ids=["encrypted", "another curve", "no curve"],
)
def test_a_key_that_cannot_sign_is_refused_with_a_fix(tmp_path, key, password, message):
    private, _ = write_keys(tmp_path, key, password)
    with pytest.raises(UserError, match=message) as refusal:
        load_private_key(private)
    assert "openssl ecparam" in str(refusal.value)


def test_a_private_key_is_refused_as_public_key(signed, keys):
    with pytest.raises(UserError, match=r"cannot be used as a key.*openssl ec "):
        verify(signed, trust=Trust(keys[0]))
    with pytest.raises(UserError, match="no such key"):
        verify(signed, trust=Trust(keys[0].with_name("none.pub")))


def test_without_the_package_the_message_says_how_to_install_it(signed, keys, monkeypatch):
    monkeypatch.setattr(signature.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--public-key: .*model_signing.*\[signing\]"):
        verify(signed, trust=Trust(keys[1]))
    with pytest.raises(UserError, match=r"signing_key: .*\[signing\]"):
        load_private_key(keys[0])
