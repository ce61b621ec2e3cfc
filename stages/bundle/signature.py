"""Signatures of bundles by OpenSSF model-signing, with an elliptic-curve key of the user's own.

A signature is a file of its own beside the archive: ECDSA draws a random number, so inside it
would give equal inputs unequal bytes. It covers the archive's every byte, is a Sigstore bundle,
and the project's own tool checks it too (`model_signing verify key`). Nothing is sent anywhere.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from stages.bundle.errors import BundleError
from stages.common.files import atomic_path

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurve

SUFFIX = ".sig"
CURVES = ("secp256r1", "secp384r1", "secp521r1")
MAX_BYTES = 1 << 20
"""A signature is about 1 kB; a larger file is none."""

_MAKE = "openssl ecparam -name prime256v1 -genkey -noout -out KEY.pem"
_MAKE_PUBLIC = "openssl ec -in KEY.pem -pubout -out KEY.pub"


class SignatureError(ValueError):
    """A key that cannot be used, or a package that is missing; the message has the way out."""


@dataclass(frozen=True)
class Trust:
    """Whose signature counts.

    Attributes:
        public_key: PEM file of an elliptic-curve public key.
        signature: the file; None for the one beside the bundle.
        required: whether a bundle without a signature is refused.
    """

    public_key: Path
    signature: Path | None = None
    required: bool = False

    def check_key(self) -> None:
        """Refuse to begin without what checking needs.

        Raises:
            SignatureError: model-signing is not installed, or the key cannot be used.
        """
        require_package("--public-key")
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        with _key_errors(self.public_key, f"Make one from the private key: {_MAKE_PUBLIC}"):
            _check_curve(load_pem_public_key(self.public_key.read_bytes()))

    def check(self, bundle: Path) -> str:
        """Check a bundle's signature; a sentence on what was found.

        Raises:
            BundleError: the signature is missing where it is required, or does not hold.
        """
        signature = self.signature or signature_file(bundle)
        if not signature.is_file():
            if self.required or self.signature is not None:
                raise BundleError(f"{bundle} is not signed: there is no {signature}.")
            return f"not signed: there is no {signature}, and none was required"
        if signature.stat().st_size > MAX_BYTES:
            raise BundleError(f"{signature} is larger than the {MAX_BYTES} bytes of a signature.")
        _verify(bundle, signature, self.public_key)
        return f"signed by the owner of {self.public_key}"


def signature_file(bundle: Path) -> Path:
    """Where the signature of a bundle lies."""
    return bundle.with_name(bundle.name + SUFFIX)


def require_package(what: str) -> None:
    """Stop where signatures can be neither made nor checked.

    Args:
        what: the setting that asks for it, for the message.

    Raises:
        SignatureError: model-signing is not installed.
    """
    # pyOpenSSL is used by model-signing 1.1.1, and not installed with it.
    missing = [name for name in ("model_signing", "OpenSSL") if not importlib.util.find_spec(name)]
    if missing:
        raise SignatureError(
            f"{what}: signatures need a package that is not installed ({', '.join(missing)}). "
            "Install the extra: pip install --constraint constraints.txt --editable '.[signing]'"
        )


def check_private_key(path: Path) -> None:
    """Refuse a key that cannot sign.

    Raises:
        SignatureError: model-signing or the file is missing, or it is no plain elliptic-curve key.
    """
    require_package("bundle.signing_key")
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    with _key_errors(path, f"Make one: {_MAKE}"):
        _check_curve(load_pem_private_key(path.read_bytes(), None))


def sign(bundle: Path, private_key: Path) -> Path:
    """Sign an archive; the signature's file. The key is read and never copied.

    Raises:
        SignatureError: model-signing is missing or the key cannot be used.
    """
    check_private_key(private_key)
    from model_signing import signing

    target = signature_file(bundle)
    with atomic_path(target) as temporary:
        config = signing.Config().use_elliptic_key_signer(private_key=private_key)
        config.sign(bundle.resolve(), temporary)
    return target


def signed_by(bundle: Path, private_key: Path) -> bool:
    """Whether a bundle's signature is there, and of this very archive and key."""
    from cryptography.hazmat.primitives import serialization

    if not signature_file(bundle).is_file():
        return False
    key = serialization.load_pem_private_key(private_key.read_bytes(), None)
    with TemporaryDirectory(prefix="netwright-") as folder:
        public_key = Path(folder) / "public.pem"
        public_key.write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        try:
            Trust(public_key).check(bundle)
        except BundleError:
            return False
    return True


def _verify(bundle: Path, signature: Path, public_key: Path) -> None:
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    # All that reading and checking a file of anybody's can raise.
    refusals = (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
        OSError,
        InvalidSignature,
    )
    try:
        # model-signing prints remarks on older signatures, where JSON may be expected.
        with contextlib.redirect_stdout(io.StringIO()):
            config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
            config.verify(bundle.resolve(), signature)  # it refuses links
    except refusals as error:
        why = str(error).split(":")[0] or type(error).__name__
        raise BundleError(
            f"{bundle}: {signature.name} is no signature of this archive by the owner of "
            f"{public_key} ({why})."
        ) from error


def _check_curve(key: Any) -> None:
    curve: EllipticCurve | None = getattr(key, "curve", None)
    if curve is None or curve.name not in CURVES:
        found = type(key).__name__ if curve is None else curve.name
        raise ValueError(f"it is {found}, not an elliptic-curve key on {', '.join(CURVES)}")


@contextlib.contextmanager
def _key_errors(path: Path, way_out: str) -> Iterator[None]:
    from cryptography.exceptions import UnsupportedAlgorithm

    if not path.is_file():
        raise SignatureError(f"{path}: no such key. {way_out}")
    try:
        yield
    except (ValueError, TypeError, UnsupportedAlgorithm, OSError) as error:
        # An encrypted key is a TypeError: no password was given.
        raise SignatureError(f"{path} cannot be used as a key: {error}. {way_out}") from error
