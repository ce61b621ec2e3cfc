"""Importing this keeps runtimes quiet: for a process that can be told only what to import first."""

from devices.agent.quiet import quiet

quiet()
