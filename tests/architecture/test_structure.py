"""What the architecture promises about imports, sizes and public names, over every package."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lipstream

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "lipstream": "engine",
    "lipstream_server": "server",
    "lipstream_clients": "clients",
    "lipstream_export": "export",
    "lipstream_models": "models",
    "lipstream_bench": "bench",
}
MAY_IMPORT = {
    "lipstream": set(),
    "lipstream_server": {"lipstream"},
    "lipstream_models": {"lipstream"},
    "lipstream_export": {"lipstream", "lipstream_models"},
    "lipstream_clients": {"lipstream", "lipstream_models"},  # ``avatar make --describe``
    "lipstream_bench": {
        *("lipstream", "lipstream_server", "lipstream_clients"),
        *("lipstream_export", "lipstream_models"),
    },
}
ENGINE_ROOMS = (
    {"errors", "timing", "types", "machine"},
    {"storage"},
    {"audio"},
    {"inference", "lips", "media"},
    {"face", "speech"},
    {"avatar", "mouth"},
    {"live"},
    {"film"},
    {"", "cli", "cli_options"},
)
"""The engine's rooms: each imports only from its own and from those in the lines above its own."""
LONGEST_MODULE, LONGEST_FUNCTION = 500, 45


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for folder in PACKAGES.values()
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def imports(name: str) -> Iterator[str]:
    """Yield the modules that one module imports, in whatever place."""
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(name, node)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in MODULES else base


def absolute(name: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = name.split(".")
    up = node.level if MODULES[name].name != "__init__.py" else node.level - 1
    return ".".join([*package[: len(package) - up], *([node.module] if node.module else [])])


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


@pytest.mark.parametrize("name", sorted(MODULES))
def test_packages_import_only_those_below_them(name: str) -> None:
    own = name.split(".", maxsplit=1)[0]
    others = {other.split(".")[0] for other in imports(name)} & PACKAGES.keys() - {own}
    assert others <= MAY_IMPORT[own]


def room(name: str) -> str:
    """Return the folder or module below ``lipstream``; "" for ``lipstream`` itself."""
    return ".".join(name.split(".")[1:2])


@pytest.mark.parametrize("name", sorted(n for n in MODULES if n.split(".")[0] == "lipstream"))
def test_no_arrow_runs_back_between_the_rooms_of_the_engine(name: str) -> None:
    rank = {one: k for k, rooms in enumerate(ENGINE_ROOMS) for one in rooms}
    own = room(name)
    used = {room(other) for other in imports(name) if other.split(".")[0] == "lipstream"} - {own}
    assert [other for other in used if rank[other] >= rank[own]] == []


def test_no_file_imports_itself_in_a_circle() -> None:
    graph = {name: {o for o in imports(name) if o in MODULES and o != name} for name in MODULES}
    assert cycles(graph) == []


def test_the_search_for_circles_finds_them() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"a"}}
    assert cycles(graph) == [["a", "b", "c"]]


def test_the_engine_needs_neither_torch_nor_asyncio() -> None:
    for name in MODULES:
        if name.split(".")[0] == "lipstream":
            assert not {"torch", "asyncio"} & {other.split(".")[0] for other in imports(name)}, name


def test_public_names() -> None:
    assert lipstream.__all__ == [
        "AvFrame",
        "Avatar",
        "LipSync",
        "LipstreamError",
        "MouthModel",
        "Options",
        "Pacer",
        "Worker",
    ]


def test_importing_lipstream_opens_no_runtime() -> None:
    heavy = "('openvino', 'onnxruntime', 'torch')"
    code = f"import sys, lipstream; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_modules_and_functions_stay_of_a_size_that_can_be_read() -> None:
    long = {}
    for name, path in MODULES.items():
        text = path.read_text("utf-8")
        if (lines := len(text.splitlines())) > LONGEST_MODULE:
            long[name] = lines
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long[f"{name}.{node.name}"] = lines
    assert long == {}
