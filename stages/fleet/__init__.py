"""All devices together: their Pareto fronts, and the fewest networks that serve them all."""
