"""The device agent: measures models on the device itself, for a pipeline that runs elsewhere.

This package imports nothing of the project, only the standard library, NumPy and the runtime, so
that `pack` can make ONE file of it that runs wherever it is copied to:

    NETWRIGHT_AGENT_TOKEN=... python agent.pyz serve --port 8600     measure what a pipeline sends
    python agent.pyz fill table.csv                                  measure a folder, by hand

The project measures on its own machine by the same protocol, from the same code.
"""
