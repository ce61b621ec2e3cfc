"""Several devices: networks that they share."""
