"""Build a bundle's `run.py`: the template with the code that it imports from `devices.runtimes`."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from bundles.build import run_template
from devices.runtimes.session import Session

_TEMPLATE = Path(run_template.__file__)
_ROOT = _TEMPLATE.parents[2]
_OURS = "devices."
_DEFAULT = "RUNTIME: type[Session] = OnnxRuntimeSession"


def run_program(session: type[Session]) -> str:
    """Build `run.py` for a runtime."""
    bodies: dict[Path, str] = {}
    imports: dict[str, set[str]] = {"": set()}
    for file in (Path(inspect.getfile(session)), _TEMPLATE):
        _add(file, bodies, imports)
    lines = [f"import {name}" for name in sorted(imports.pop(""))]
    lines += [f"from {m} import {', '.join(sorted(n))}" for m, n in sorted(imports.items())]
    head = [f'"""{run_template.__doc__}"""', "from __future__ import annotations", "\n".join(lines)]
    text = "\n\n".join(head) + "\n\n" + "\n\n\n".join(bodies.values()) + "\n"
    assert _DEFAULT in text
    return text.replace(_DEFAULT, f"RUNTIME: type[Session] = {session.__name__}", 1)


def _add(file: Path, bodies: dict[Path, str], imports: dict[str, set[str]]) -> None:
    """Add a file without docstring and imports, after the files that it imports.

    Args:
        file: the file.
        bodies: text by file.
        imports: imported names by module; those of `import NAME` by "".
    """
    if file in bodies:
        return
    text = file.read_text(encoding="utf-8")
    lines, (docstring, *body) = text.splitlines(), ast.parse(text).body
    dropped = [docstring]
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            dropped.append(node)
            module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            if module.startswith(_OURS):
                _add(_ROOT / f"{module.replace('.', '/')}.py", bodies, imports)
            elif module != "__future__":
                imports.setdefault(module, set()).update(ast.unparse(name) for name in node.names)
    for node in dropped:
        first, last = node.lineno, node.end_lineno or node.lineno
        lines[first - 1 : last] = [""] * (last - first + 1)
    bodies[file] = "\n".join(lines).strip()
