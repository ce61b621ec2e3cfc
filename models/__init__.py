"""Networks and what can be said about them. Imports nothing else of ours."""
