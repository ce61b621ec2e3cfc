"""Hardware: devices, budgets, latency tables, measuring, one backend per runtime."""
