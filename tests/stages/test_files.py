"""Writing whole files, and what a failure says."""

import errno
import io

import numpy as np
import pytest

from stages.common.files import explain, write_array, write_bytes


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (0, 3), (7, 5)])
def test_an_array_is_written_as_numpy_writes_it(tmp_path, order, shape):
    array = np.asarray(np.random.default_rng(0).random(shape), order=order)
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_array(tmp_path / "x.npy", array)
    assert (tmp_path / "x.npy").read_bytes() == buffer.getvalue()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full. Free some space on it, then run again"),
        (errno.EACCES, "this user may not read or write it"),
        (errno.EROFS, "its disk may only be read"),
        (errno.ENAMETOOLONG, "its name is too long"),
    ],
)
def test_a_failure_of_the_system_names_the_file_and_the_remedy(number, words):
    said = explain(OSError(number, "what the system says", "some/file"))
    assert said.startswith(f"some/file: {words}")
    assert "what the system says" in said


def test_a_failure_without_a_remedy_is_left_as_it_is():
    assert explain(OSError("odd")) == "odd"
    assert explain(FileNotFoundError(2, "No such file", "x")) == "[Errno 2] No such file: 'x'"


def test_a_name_that_is_too_long_is_named_when_written(tmp_path):
    with pytest.raises(OSError, match="too long") as caught:
        write_bytes(tmp_path / ("n" * 300), b"x")
    assert "its name is too long for this file system" in explain(caught.value)
