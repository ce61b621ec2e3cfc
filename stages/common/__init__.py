"""What every stage needs: params, files, checkpoints, progress, and the machine's settings."""
