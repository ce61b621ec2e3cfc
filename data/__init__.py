"""Data-set code: sources, checks, splits, loaders. The data themselves are artifacts."""
