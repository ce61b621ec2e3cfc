"""Calibration, int8 variants of a network, and the selection of one."""
