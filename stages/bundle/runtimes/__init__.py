"""Model loaders of a bundle's `run.py`: one module per backend, copied into `run.py`.

A module is self-contained: it needs only NumPy and the runtime, and has one class, `Runtime`.
"""
