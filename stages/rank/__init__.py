"""Rank a device's candidates, select one, and certify the quality of the ranking."""
