"""Ground floor: files, settings, checkpoints, progress, process. It imports no other room."""
