"""The IDX format of MNIST: a header with the shape, then raw bytes."""

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
        name: file name for messages.

    Returns:
        uint8, of the shape in the header.

    Raises:
        DataError: the header or the length is wrong.
    """
    if len(content) < 4:
        raise DataError(f"{name} is not an IDX file: it has only {len(content)} bytes.")
    zero, kind, rank = struct.unpack(">HBB", content[:4])
    if zero != 0 or kind != _UNSIGNED_BYTES:
        raise DataError(f"{name} is not an IDX file of unsigned bytes: {content[:4].hex()}.")
    start = 4 + 4 * rank
    if len(content) < start:
        raise DataError(f"{name} is truncated: its header needs {start} bytes.")
    shape = struct.unpack(f">{rank}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{name} holds {len(content) - start} bytes of values; its shape {shape} "
            f"needs {math.prod(shape)}."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
