"""Search a device's architecture: FP-NAS, PARSEC or random, within the device's budgets."""
