"""The prepare stage: from original files to checked and split arrays."""
