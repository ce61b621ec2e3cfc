"""Runtime `coreml`."""
