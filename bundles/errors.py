"""Errors of bundles."""


class BundleError(ValueError):
    """A bundle that cannot be trusted or used; the message names the file and the rule."""
