"""What may be searched: architectures, operators, search spaces, distributions, costs."""
