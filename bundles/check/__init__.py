"""Verification of a bundle."""
