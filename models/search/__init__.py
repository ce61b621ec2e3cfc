"""The search: problem, loop, algorithms, and the ranking of its candidates."""
