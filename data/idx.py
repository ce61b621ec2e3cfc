"""The IDX format of MNIST and its successors: a header of sizes, then plain bytes."""

from __future__ import annotations

import math
import struct

import numpy as np
import numpy.typing as npt

from data.errors import DataError

_UNSIGNED_BYTES = 0x08


def parse_idx(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes.

    Args:
        content: the file, decompressed.
        name: what messages call it.

    Returns:
        uint8, of the shape that the header says.

    Raises:
        DataError: the header or the length is wrong.
    """
    if len(content) < 4:
        raise DataError(f"{name} is no IDX file: it has {len(content)} bytes.")
    zero, kind, rank = struct.unpack(">HBB", content[:4])
    if zero != 0 or kind != _UNSIGNED_BYTES:
        raise DataError(f"{name} is no IDX file of unsigned bytes: it begins {content[:4].hex()}.")
    start = 4 + 4 * rank
    if len(content) < start:
        raise DataError(f"{name} ends inside its header of {start} bytes.")
    shape = struct.unpack(f">{rank}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{name} holds {len(content) - start} bytes of values; its shape {shape} "
            f"needs {math.prod(shape)}."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
