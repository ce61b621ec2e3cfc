"""Command line of the agent."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from .fill import fill
from .jobs import job_main
from .machine import RUNTIMES
from .protocol import Protocol
from .queue import Limits
from .server import read_token, serve


def main() -> None:
    """Run the command line of the agent."""
    parser = argparse.ArgumentParser(description="Measure models on this device.")
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve", help="serve measurement jobs of a pipeline")
    server.add_argument("--port", type=int, default=8600)
    server.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for all interfaces")
    server.add_argument("--token-file", type=Path)
    hand = commands.add_parser("fill", help="measure the models listed in a table")
    hand.add_argument("table", type=Path)
    hand.add_argument("--backend", choices=sorted(RUNTIMES), default="onnxruntime")
    hand.add_argument("--threads", type=int, default=1)
    hand.add_argument("--unit", default="CPU", help="OpenVINO device: CPU, GPU or NPU")
    hand.add_argument("--blocks", type=int, default=9, help="minimum blocks of calls per model")
    hand.add_argument("--calls", type=int, default=20, help="minimum calls per block")
    hand.add_argument(
        "--max-interval", type=float, default=0.02, help="half width of the 95%% interval, relative"
    )
    hand.add_argument("--time-limit", type=float, default=5.0, help="seconds per model")
    commands.add_parser("job").add_argument("folder", type=Path)
    flags = parser.parse_args()
    if flags.command == "job":
        job_main(flags.folder)
    try:
        if flags.command == "serve":
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            serve(flags.host, flags.port, read_token(flags.token_file), Limits())
        else:
            protocol = Protocol(flags.blocks, flags.calls, flags.max_interval, flags.time_limit)
            fill(flags.table, flags.backend, flags.threads, protocol, flags.unit)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
