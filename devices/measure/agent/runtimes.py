"""Runtimes of the agent: all whose session does not state what the agent lacks."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from devices import runtimes
from devices.runtimes.session import Session


def _sessions() -> Iterator[tuple[str, type[Session]]]:
    """The session class of every `NAME/session.py`, by name."""
    for folder in pkgutil.iter_modules(runtimes.__path__):
        if not folder.ispkg:
            continue
        module = importlib.import_module(f"{runtimes.__name__}.{folder.name}.session")
        for kind in vars(module).values():
            own = isinstance(kind, type) and kind.__module__ == module.__name__
            if own and issubclass(kind, Session):
                yield folder.name, kind


RUNTIMES = {name: kind for name, kind in _sessions() if not kind.agent_needs}
"""By backend name."""
