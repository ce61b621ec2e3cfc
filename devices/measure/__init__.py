"""Latency measurement: protocol, worker, local and remote targets, fingerprints."""
