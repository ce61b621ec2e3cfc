"""CPU features that affect int8 arithmetic. Imports only the standard library."""

from __future__ import annotations

import platform
import re
from pathlib import Path

VNNI = ("avx512_vnni", "avx_vnni")
"""x86 extensions that accumulate int8 products in 32 bits."""
RECORDED = ("avx2", "avx512f", "avx512_bf16", *VNNI, "amx_int8", "asimddp", "i8mm", "sve")
"""Features that affect a runtime's choice of int8 and float kernels, by their Linux names."""


def features(listing: str | None = None) -> list[str] | None:
    """The processor's features in `RECORDED`, sorted; None if not available.

    Args:
        listing: text of `/proc/cpuinfo`; None: read it from this machine.
    """
    if listing is None:
        try:
            listing = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", listing, re.MULTILINE)
    return None if found is None else sorted({*found[1].split()} & {*RECORDED})


def saturates(system: str | None = None, known: list[str] | None = None) -> bool:
    """Whether int8 kernels may saturate: pairs of u8 x s8 products summed in 16 bits.

    The x86 instruction `vpmaddubsw` does this; it is used without VNNI. Unknown features on x86
    count as without VNNI; ARM and others never saturate.

    Args:
        system: such as `Linux x86_64`; None: this machine.
        known: its features; ignored if `system` is None.
    """
    if system is None:
        system, known = platform.machine(), features()
    x86 = re.search(r"\b(x86_64|amd64|i[3-6]86|x86)\b", system, re.IGNORECASE) is not None
    return x86 and not {*(known or ())} & {*VNNI}
