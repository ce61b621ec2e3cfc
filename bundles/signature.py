"""Signatures of bundles with OpenSSF model-signing and the user's elliptic-curve key.

A signature is a Sigstore bundle of every byte of the archive, in a file beside it, because ECDSA is
randomised. `model_signing verify key` checks it too. Nothing is sent over the network.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bundles.archive import MALFORMED, BundleError
from core.errors import UserError
from core.files import atomic_path

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

SUFFIX = ".sig"
CURVES = ("secp256r1", "secp384r1", "secp521r1")
MAX_BYTES = 1 << 20
"""Size limit of a signature file; signatures have about 1 kB."""

_MAKE = "openssl ecparam -name prime256v1 -genkey -noout -out KEY.pem"
_MAKE_PUBLIC = "openssl ec -in KEY.pem -pubout -out KEY.pub"


@dataclass(frozen=True)
class Trust:
    """Verification settings of signatures.

    Attributes:
        public_key: PEM file of an elliptic-curve public key.
        signature: signature file; None for the one beside the bundle.
        required: whether an unsigned bundle is refused.
    """

    public_key: Path
    signature: Path | None = None
    required: bool = False

    def check(self, bundle: Path) -> str:
        """Verify a bundle's signature, and return a sentence on the result.

        Raises:
            BundleError: the signature is invalid, or required and missing.
        """
        signature = self.signature or signature_file(bundle)
        if not signature.is_file():
            if self.required or self.signature is not None:
                raise BundleError(f"{bundle} is not signed: there is no {signature}.")
            return f"not signed: there is no {signature}, and none was required"
        if signature.stat().st_size > MAX_BYTES:
            raise BundleError(f"{signature} is larger than the {MAX_BYTES} bytes allowed.")
        _verify(bundle, signature, self.public_key)
        return f"signed by the owner of {self.public_key}"


def signature_file(bundle: Path) -> Path:
    """Return the path of a bundle's signature."""
    return bundle.with_name(bundle.name + SUFFIX)


def check_public_key(path: Path) -> None:
    """Raise UserError if model-signing or the key of `--public-key` is missing or not usable."""
    _require_packages("--public-key")
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    _load(path, load_pem_public_key, f"Make one from the private key: {_MAKE_PUBLIC}")


def load_private_key(path: Path) -> EllipticCurvePrivateKey:
    """Load the key of `signing_key`.

    Raises:
        UserError: model-signing or the file is missing, or the key is not usable.
    """
    _require_packages("signing_key")
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key: EllipticCurvePrivateKey = _load(
        path, lambda pem: load_pem_private_key(pem, None), f"Make one: {_MAKE}"
    )
    return key


def sign(bundle: Path, private_key: Path) -> Path:
    """Sign an archive and return the signature file. The key is never copied.

    Raises:
        UserError: model-signing is missing or the key cannot be used.
    """
    load_private_key(private_key)
    from model_signing import signing

    target = signature_file(bundle)
    with atomic_path(target) as temporary:
        config = signing.Config().use_elliptic_key_signer(private_key=private_key)
        config.sign(bundle.resolve(), temporary)
    return target


def signed_by(bundle: Path, private_key: Path) -> bool:
    """Whether a bundle has a valid signature by this key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = load_private_key(private_key).public_key()
    with TemporaryDirectory(prefix="netwright-") as folder:
        public_key = Path(folder) / "public.pem"
        public_key.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        try:
            Trust(public_key, required=True).check(bundle)
        except BundleError:
            return False
    return True


def _verify(bundle: Path, signature: Path, public_key: Path) -> None:
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    try:
        # model-signing prints remarks to stdout, which may be expected to be JSON.
        with contextlib.redirect_stdout(io.StringIO()):
            config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
            config.verify(bundle.resolve(), signature)  # resolved, as it refuses links
    except (*MALFORMED, RecursionError, OSError, InvalidSignature) as error:
        why = str(error).split(":")[0] or type(error).__name__
        raise BundleError(
            f"{bundle}: {signature.name} is not a valid signature of this archive by the owner of "
            f"{public_key} ({why})."
        ) from error


def _require_packages(setting: str) -> None:
    # model-signing 1.1.1 uses pyOpenSSL without declaring the dependency.
    missing = [name for name in ("model_signing", "OpenSSL") if not importlib.util.find_spec(name)]
    if missing:
        raise UserError(
            f"{setting}: signatures need a package that is not installed ({', '.join(missing)}). "
            "Install the extra: pip install --constraint constraints.txt --editable '.[signing]'"
        )


def _load(path: Path, load: Callable[[bytes], Any], fix: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    if not path.is_file():
        raise UserError(f"{path}: no such key. {fix}")
    try:
        key = load(path.read_bytes())
        curve = getattr(key, "curve", None)
        if curve is None or curve.name not in CURVES:
            found = type(key).__name__ if curve is None else curve.name
            raise ValueError(f"it is {found}, not an elliptic-curve key on {', '.join(CURVES)}")
    except (ValueError, TypeError, UnsupportedAlgorithm, OSError) as error:
        # An encrypted key raises TypeError, as no password is passed.
        raise UserError(f"{path} cannot be used as a key: {error}. {fix}") from error
    return key
