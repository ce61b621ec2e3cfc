"""Stage `profile`: measure a device, so that any network's latency on it can be predicted."""
