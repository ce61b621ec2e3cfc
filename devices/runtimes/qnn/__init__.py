"""Runtime `qnn`."""
