"""Plot of a release: accuracy against latency."""
