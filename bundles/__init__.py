"""The bundle format: manifest, archive, golden outputs, signature, gate."""
