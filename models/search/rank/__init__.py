"""Ranking of a search's candidates."""
