"""Build a bundle's `run.py`: the template with the code that it imports from `devices.runtimes`."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from bundles.build import run_template
from devices.runtimes.session import Session

_TEMPLATE = Path(run_template.__file__)
_ROOT = _TEMPLATE.parents[2]
_OURS = "devices."
_DEFAULT = "RUNTIME: type[Session] = OnnxRuntimeSession"


class Program:
    """Source files joined into one, each after the files that it imports."""

    def __init__(self) -> None:
        self._files: set[Path] = set()
        self._modules: set[str] = set()
        self._names: dict[str, set[str]] = {}
        self._bodies: list[str] = []

    def add(self, file: Path) -> None:
        """Add a file without its docstring, unless it was added before."""
        if file in self._files:
            return
        self._files.add(file)
        text = file.read_text(encoding="utf-8")
        lines, (docstring, *body) = text.splitlines(), ast.parse(text).body
        imports = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
        for node in imports:
            self._add_import(node)
        for dropped in (docstring, *imports):
            first, last = dropped.lineno, dropped.end_lineno or dropped.lineno
            lines[first - 1 : last] = [""] * (last - first + 1)
        self._bodies.append("\n".join(lines).strip())

    def _add_import(self, node: ast.Import | ast.ImportFrom) -> None:
        names = [ast.unparse(alias) for alias in node.names]
        module = node.module or "" if isinstance(node, ast.ImportFrom) else None
        if module is None:
            self._modules.update(names)
        elif module.startswith(_OURS):
            self.add(_ROOT / f"{module.replace('.', '/')}.py")
        elif module != "__future__":
            self._names.setdefault(module, set()).update(names)

    def text(self, docstring: str) -> str:
        """The joined program."""
        imports = [f"import {name}" for name in sorted(self._modules)]
        imports += [
            f"from {m} import {', '.join(sorted(n))}" for m, n in sorted(self._names.items())
        ]
        head = [f'"""{docstring}"""', "from __future__ import annotations", "\n".join(imports)]
        return "\n\n".join(head) + "\n\n" + "\n\n\n".join(self._bodies) + "\n"


def run_program(session: type[Session]) -> str:
    """Build `run.py` for a runtime.

    Args:
        session: the runtime's session.
    """
    program = Program()
    program.add(Path(str(sys.modules[session.__module__].__file__)))
    program.add(_TEMPLATE)
    before, line, after = program.text(run_template.__doc__ or "").partition(_DEFAULT)
    assert line
    return f"{before}RUNTIME: type[Session] = {session.__name__}{after}"
