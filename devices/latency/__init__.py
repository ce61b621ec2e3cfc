"""Latency tables and models of a device, its budgets and their feasibility."""
