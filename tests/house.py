"""The plan of the house, measured from the imports: `python -m tests.house`.

A room is a package or a loose module below `cnnrun/`. Imports inside functions count as well; only
those under `if TYPE_CHECKING` do not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "cnnrun"

# From the ground up. A file imports from its own room and from lower floors, never across a floor.
FLOORS = (
    ("errors", "version", "metrics"),
    ("registry", "runtime"),
    ("data", "models"),
    ("components",),
    ("config",),
    ("runs",),
    ("engine", "comparison"),
    ("evaluation",),
    ("plots",),
    ("runner", "multirun"),
    ("report", "api"),
    ("plugin", "cli"),
    ("__init__", "__main__"),
)


def files() -> list[Path]:
    """Every file of the package, sorted."""
    return sorted(PACKAGE.rglob("*.py"))


def module_of(file: Path) -> str:
    """`cnnrun/data/images/scan.py` -> `cnnrun.data.images.scan`."""
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """`cnnrun.data.images.scan` -> `data`."""
    return [*module.split("."), "__init__"][1]


@cache
def _modules(package: Path) -> frozenset[str]:
    return frozenset(map(module_of, package.rglob("*.py")))


def imports(file: Path) -> frozenset[str]:
    """The modules of cnnrun that `file` imports, at its top or in a function.

    `cnnrun` itself stands for a name that is taken from `cnnrun/__init__.py`.
    """
    return _imports(module_of(file), file.read_text(), _modules(PACKAGE))


@cache
def _imports(module: str, text: str, known: frozenset[str]) -> frozenset[str]:
    found: set[str] = set()
    for node in _statements(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from package import module` imports a module; any other name comes from the package.
            found |= {name if name in known else node.module for name in inner}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(found & known - {module})


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below `node` but those that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            child = ast.Module(child.orelse, [])
        yield child
        yield from _statements(child)


def floor_of(module: str) -> int:
    """On which floor a module's room is, counted from 0.

    Raises:
        LookupError: the room is in no plan.
    """
    room = room_of(module)
    for number, rooms in enumerate(FLOORS):
        if room in rooms:
            return number
    raise LookupError(f"{module}: no floor has a room '{room}'; add it to FLOORS")


def arrows_up() -> list[str]:
    """The imports that the law forbids: to a higher floor, or to another room of the same one."""
    return [
        f"{module} imports {imported}"
        for file in files()
        for module in [module_of(file)]
        for imported in sorted(imports(file))
        if room_of(imported) != room_of(module) and floor_of(imported) >= floor_of(module)
    ]


def circles() -> list[str]:
    """Files that import one another, each circle as one line."""
    graph = {module_of(file): imports(file) for file in files()}
    done: set[str] = set()
    found: list[str] = []

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            found.append(" -> ".join([*path[path.index(module) :], module]))
        elif module not in done:
            for imported in sorted(graph[module]):
                # A package that imports its own files registers them; that is no circle.
                if not imported.startswith(f"{module}."):
                    visit(imported, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    return found


def longest_files() -> list[tuple[int, str]]:
    """Lines of each file, longest first."""
    lengths = [(len(f.read_text().splitlines()), str(f.relative_to(REPOSITORY))) for f in files()]
    return sorted(lengths, reverse=True)


def longest_functions() -> list[tuple[int, str]]:
    """Lines of each function, longest first; a docstring is no code."""
    return sorted(
        (
            (_lines(node), f"{file.relative_to(REPOSITORY)}:{node.name}")
            for file in files()
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ),
        reverse=True,
    )


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    docstring = function.body[0] if ast.get_docstring(function) else None
    inner = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - inner


def _print_plan() -> None:
    for number, rooms in reversed(list(enumerate(FLOORS))):
        print(f"{number:2}  {' | '.join(rooms)}")
    arrows = {
        (room_of(module_of(f)), room_of(imported))
        for f in files()
        for imported in imports(f)
        if room_of(imported) != room_of(module_of(f))
    }
    print(
        f"\n{sum(map(len, FLOORS))} rooms, {len(FLOORS)} floors, {len(arrows)} arrows between rooms"
    )
    for title, lines in (("arrows up", arrows_up()), ("circles", circles())):
        print(f"{title}: {len(lines)}", *lines, sep="\n  ")
    for title, longest in (("files", longest_files()), ("functions", longest_functions())):
        print(f"longest {title}:", *(f"{n:4}  {name}" for n, name in longest[:3]), sep="\n  ")


if __name__ == "__main__":
    _print_plan()
