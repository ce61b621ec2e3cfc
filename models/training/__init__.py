"""The training loop, its objective and optimiser, and data parallelism."""
