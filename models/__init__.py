"""Networks, search spaces, training and cost models. Imports no other package of this project."""
