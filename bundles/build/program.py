"""`run.py` of a bundle: the template with the device's runtime and the modules it needs inlined."""

from __future__ import annotations

import re
from pathlib import Path

from bundles.build import run_template
from devices import runtimes
from devices.measure.agent import pack as packing

_TEMPLATE = Path(run_template.__file__)
_RUNTIMES = Path(runtimes.__file__).parent
_AGENT = Path(packing.__file__).parent
_OF_AGENT = re.compile(r"^from (?:devices\.measure\.agent)?\.(\w+) import .*\n", re.MULTILINE)
_OWN_RUNTIME = "Runtime: Any = OnnxRuntime"


def run_program(backend_name: str) -> str:
    """Return the bundle's `run.py`: the template with the backend's module inlined."""
    text = _inline_agent(_TEMPLATE.read_text(encoding="utf-8"))
    own = _RUNTIMES / backend_name / "run.py"
    if not own.is_file():  # ONNX Runtime is in the template
        return text
    _, module = own.read_text(encoding="utf-8").split("from __future__ import annotations\n")
    before, line, after = text.partition(_OWN_RUNTIME)
    assert line
    return f"{before}{module.strip()}\n{after.partition(chr(10))[2]}"


def _inline_agent(text: str) -> str:
    """Inline the agent's modules that a program imports."""

    def module(match: re.Match[str]) -> str:
        inner = (_AGENT / f"{match[1]}.py").read_text(encoding="utf-8")
        return _inline_agent(inner.split("from __future__ import annotations\n")[1]).strip() + "\n"

    return _OF_AGENT.sub(module, text)
