"""Orchestration of the stages: DVC graph, Prefect flow, schedules and the command line."""
