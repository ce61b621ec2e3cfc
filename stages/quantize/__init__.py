"""Stage `quantize`: lower precisions of one network, judged by accuracy and by measured speed."""
