"""Execution of a run: flow, child processes, interrupts, repair."""
