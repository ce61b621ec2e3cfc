"""Stage `quantize`: lower precisions of one network, selected by accuracy and measured latency."""
