"""Runtime `executorch`."""
