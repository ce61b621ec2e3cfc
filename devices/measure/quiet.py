"""Disables telemetry on import, for the preload list of the fork server."""

from devices.measure.agent.quiet import disable_telemetry

disable_telemetry()
