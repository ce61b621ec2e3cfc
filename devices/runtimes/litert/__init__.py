"""Runtime `litert`."""
