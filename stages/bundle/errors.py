"""What is wrong with a bundle."""


class BundleError(ValueError):
    """A bundle that cannot be trusted or used; the message names the file and the rule."""
