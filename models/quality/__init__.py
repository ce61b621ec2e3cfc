"""How well a classifier does: metrics, calibration, confidence."""
