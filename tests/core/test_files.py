"""Atomic file writes, and their error messages."""

import io

import numpy as np
import pytest

from core.files import write_array, write_bytes
from core.system import describe_os_error


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (0, 3), (7, 5)])
def test_an_array_is_written_as_numpy_writes_it(tmp_path, order, shape):
    array = np.asarray(np.random.default_rng(0).random(shape), order=order)
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_array(tmp_path / "x.npy", array)
    assert (tmp_path / "x.npy").read_bytes() == buffer.getvalue()


def test_a_name_that_is_too_long_is_named_when_written(tmp_path):
    with pytest.raises(OSError, match="too long") as caught:
        write_bytes(tmp_path / ("n" * 300), b"x")
    assert "the name is too long for that disk" in describe_os_error(caught.value)
