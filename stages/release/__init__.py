"""Stage `release`: index of all bundles, and plot of accuracy against latency."""
