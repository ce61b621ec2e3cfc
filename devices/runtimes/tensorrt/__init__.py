"""Runtime `tensorrt`."""
