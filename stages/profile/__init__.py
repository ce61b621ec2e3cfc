"""Stage `profile`: measure a device and fit its latency model."""
