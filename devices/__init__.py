"""Devices: budgets, latency measurement and models, one backend per runtime."""
