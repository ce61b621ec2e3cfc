"""Runtimes of devices, one folder each; see `devices.runtimes.registry`."""
