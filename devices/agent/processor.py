"""What a processor's instruction set means for int8 arithmetic. Standard library alone."""

from __future__ import annotations

import platform
import re
from pathlib import Path

VNNI = ("avx512_vnni", "avx_vnni")
"""x86 instructions that sum products of 8-bit integers in 32 bits."""
RECORDED = ("avx2", "avx512f", "avx512_bf16", *VNNI, "amx_int8", "asimddp", "i8mm", "sve")
"""Features that decide which int8 or float kernels a runtime picks, in Linux's names."""


def features(listing: str | None = None) -> list[str] | None:
    """The processor's features among `RECORDED`, sorted; None where the system does not say.

    Args:
        listing: the text of `/proc/cpuinfo`; None: this machine's.
    """
    if listing is None:
        try:
            listing = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", listing, re.MULTILINE)
    return None if found is None else sorted({*found[1].split()} & {*RECORDED})


def saturates(system: str | None = None, known: list[str] | None = None) -> bool:
    """Whether int8 kernels may saturate: products of u8 and s8 summed in pairs in 16 bits.

    That is what `vpmaddubsw` does, the x86 instruction before VNNI. Where the features are not
    known the answer is the safe one, for ARM and others never saturate.

    Args:
        system: such as `Linux x86_64`; None: this machine.
        known: its features; read from this machine if `system` is None.
    """
    if system is None:
        system, known = platform.machine(), features()
    x86 = re.search(r"\b(x86_64|amd64|i[3-6]86|x86)\b", system, re.IGNORECASE) is not None
    return x86 and not {*(known or ())} & {*VNNI}
