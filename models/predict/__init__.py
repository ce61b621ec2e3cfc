"""Regression with intervals, cross-validation and ranking statistics."""
