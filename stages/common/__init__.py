"""Shared by all stages: params, files, checkpoints, progress and process settings."""
