"""What can be wrong with a data set."""

from __future__ import annotations


class DataError(ValueError):
    """A data set that cannot be used; the message says what is wrong and what to do about it."""


class ImageError(DataError):
    """One image file that cannot be read; the message names the file and the reason."""
