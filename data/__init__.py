"""Dataset code: sources, validation, splits, batches. The data are DVC artifacts."""
