"""Errors of datasets."""

from __future__ import annotations


class DataError(ValueError):
    """An unusable dataset; the message states the problem and the fix."""


class ImageError(DataError):
    """An unreadable image file; the message names the file and the reason."""
