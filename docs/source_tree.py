"""The project's modules and what they import, read from the source without importing anything."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "lipstream": "engine",
    "lipstream_server": "server",
    "lipstream_clients": "clients",
    "lipstream_export": "export",
    "lipstream_models": "models",
    "lipstream_bench": "bench",
}
"""Each package and the folder at the top that holds it."""


def module_name(path: Path) -> str:
    """Return the dotted name of a module, or of a package for its ``__init__.py``."""
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for folder in PACKAGES.values()
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def package(name: str) -> str:
    """Return the package that holds a module."""
    return name.split(".", maxsplit=1)[0]


def room(name: str) -> str:
    """Return the folder or module below the package; "" for the package itself."""
    return ".".join(name.split(".")[1:2])


@cache
def tree(name: str) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(MODULES[name].read_text("utf-8"))


def imports(name: str) -> Iterator[str]:
    """Yield what a module imports, in whatever place: the project's modules by their whole name."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(name, node)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in MODULES else base


def _absolute(name: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    up = node.level if MODULES[name].name != "__init__.py" else node.level - 1
    return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of names that can all be reached from each other (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return groups
