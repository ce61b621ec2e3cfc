"""How a bundle's `run.py` opens its file: one module a backend, copied into `run.py`.

A module stands for itself: it needs NumPy and the runtime alone, and has one class, `Runtime`.
"""
