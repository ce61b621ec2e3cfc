"""The device agent: measures models on the device for a pipeline on another machine.

This package imports only the standard library, NumPy and the sessions of `devices.runtimes`, so
that `pack` can build a single file that runs on the device:

    NETWRIGHT_AGENT_TOKEN=... python agent.pyz serve --port 8600     serve measurement jobs
    python agent.pyz fill table.csv                                  measure an exported folder

The project measures local targets with the same code.
"""
