"""The prepare stage: originals in, checked and split arrays out."""
