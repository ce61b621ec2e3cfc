"""Search a device's architecture within its budgets, by one of several algorithms."""
