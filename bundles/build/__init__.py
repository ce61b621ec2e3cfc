"""Content of a bundle."""
