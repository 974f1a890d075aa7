"""What the architecture promises about imports, sizes and public names, over every package."""

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import lipstream
from source_tree import MODULES, PACKAGES, cycles, imports, package, room, tree

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
    {"errors"},
    {"timing", "types", "machine"},
    {"storage"},
    {"audio"},
    {"inference", "lips", "media"},
    {"face", "speech"},
    {"mouth"},
    {"avatar"},
    {"live"},
    {"film"},
    {"", "cli"},
    {"__main__", "completion_command"},
)
"""The engine's rooms: each imports only from its own and from those in the lines above its own."""
MODELS_ROOMS = (
    {"downloads"},
    {"corpora"},
    {"networks", "synthetic"},
    {"evaluation"},
    {"training"},
    {"", "models_command"},
)
SERVER_ROOMS = (
    {"config", "metrics", "limits", "http_server", "rtmp"},
    {"auth", "avatars"},
    {"stage"},
    {"webrtc"},
    {"studio", "outputs"},
    {"app"},
    {"", "command"},
)
ROOMS = {
    "lipstream": ENGINE_ROOMS,
    "lipstream_server": SERVER_ROOMS,
    "lipstream_models": MODELS_ROOMS,
}
WITHOUT_TORCH = (
    *("lipstream_models.models_command", "lipstream_clients.avatar_command"),
    *(
        "lipstream_models.synthetic.describe.rendering",
        "lipstream_models.synthetic.blender.__main__",
    ),
)
"""What runs where nothing is trained: listing and checking models, making described avatars."""
ROOT = Path(__file__).resolve().parents[2]
LONGEST_MODULE, LONGEST_FUNCTION = 500, 45
MOST_MODULES = 199


@pytest.mark.parametrize("name", sorted(MODULES))
def test_packages_import_only_those_below_them(name: str) -> None:
    own = package(name)
    others = {package(other) for other in imports(name)} & PACKAGES.keys() - {own}
    assert others <= MAY_IMPORT[own]


@pytest.mark.parametrize("name", sorted(n for n in MODULES if package(n) in ROOMS))
def test_no_arrow_runs_back_between_the_rooms_of_a_package(name: str) -> None:
    rank = {one: k for k, rooms in enumerate(ROOMS[package(name)]) for one in rooms}
    own = room(name)
    used = {room(other) for other in imports(name) if package(other) == package(name)} - {own}
    assert [other for other in used if rank[other] >= rank[own]] == []


@pytest.mark.parametrize("own", PACKAGES)
def test_no_rooms_of_a_package_import_each_other_in_a_circle(own: str) -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for name in MODULES:
        if package(name) == own:
            others = {room(o) for o in imports(name) if o in MODULES and package(o) == own}
            graph[room(name)] |= others - {room(name)}
    assert cycles(graph) == []


def test_no_file_imports_itself_in_a_circle() -> None:
    graph = {name: {o for o in imports(name) if o in MODULES and o != name} for name in MODULES}
    assert cycles(graph) == []


def test_the_search_for_circles_finds_them() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"a"}}
    assert cycles(graph) == [["a", "b", "c"]]


def test_the_engine_needs_neither_torch_nor_asyncio() -> None:
    for name in MODULES:
        if package(name) == "lipstream":
            assert not {"torch", "asyncio"} & {package(other) for other in imports(name)}, name


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_what_runs_without_training_reaches_no_torch(name: str) -> None:
    reached, waiting = {name}, [name]
    while waiting:
        module = waiting.pop()
        assert "torch" not in {package(other) for other in imports(module)}, module
        further = {other for other in imports(module) if other in MODULES} - reached
        reached |= further
        waiting += further


def test_public_names() -> None:
    assert lipstream.__all__ == [
        "AvFrame",
        "Avatar",
        "AvatarStream",
        "Conversation",
        "LipSync",
        "LipstreamError",
        "MouthModel",
        "Options",
        "Worker",
        "render",
    ]


def test_importing_lipstream_opens_no_runtime() -> None:
    heavy = "('openvino', 'onnxruntime', 'torch')"
    code = f"import sys, lipstream; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_modules_and_functions_stay_of_a_size_that_can_be_read() -> None:
    long = {}
    for name, path in MODULES.items():
        if (lines := len(path.read_text("utf-8").splitlines())) > LONGEST_MODULE:
            long[name] = lines
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long[f"{name}.{node.name}"] = lines
    assert long == {}
    assert len(MODULES) <= MOST_MODULES


def test_a_class_name_has_one_meaning() -> None:
    places = defaultdict(list)
    for name in MODULES:
        for node in tree(name).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    twice = {name: at for name, at in places.items() if len(at) > 1}
    assert twice == {}


@pytest.mark.parametrize(
    "name", sorted(n for n, path in MODULES.items() if path.name == "__init__.py")
)
def test_every_package_folder_says_what_belongs_there(name: str) -> None:
    assert ast.get_docstring(tree(name))


def test_nothing_that_is_built_is_kept() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listing = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    kept = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert kept == ""
