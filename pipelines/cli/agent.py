"""`netwright agent`: measures, on a device, the models that the pipeline sends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def agent(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8600,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0: all interfaces.")
    ] = "127.0.0.1",
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token. Default: NETWRIGHT_AGENT_TOKEN."),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the agent as one file to copy, and exit."),
    ] = None,
) -> None:
    """Run the agent on a device: it measures the models that the pipeline sends."""
    if write is not None:
        from core.files import write_new
        from devices.measure.agent.pack import build_zipapp

        write_new(write, build_zipapp())
        print(f"{write}: copy it to the device, then: python {write.name} serve --port {port}")
        return
    from devices.measure.agent.queue import Limits
    from devices.measure.agent.server import read_token, serve

    serve(host, port, read_token(token_file), Limits())
