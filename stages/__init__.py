"""One module or package per stage: typed params in, declared files out."""
