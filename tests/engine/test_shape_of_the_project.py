"""What the design promises about imports and public names."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lipstream

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "engine" / "lipstream"
LAYERS = [
    {"types", "errors", "timing", "files", "packs"},
    {"kernels", "manifest"},
    {"ring", "audio", "mel", "faces", "region", "silence", "backends"},
    {"compositor", "speaking"},
    {"model"},
    {"avatar", "detection", "prepared"},
    {"landmarks", "s3fd"},
    {"pipeline", "pacer"},
    {"lips", "prepared_avatars"},
    {"session"},
    {"worker"},
]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda p: p.stem)
def test_imports_point_one_way(path):
    name = path.relative_to(ENGINE).parts[0].removesuffix(".py")
    level = next((k for k, names in enumerate(LAYERS) if name in names), len(LAYERS))
    for module in imports(path):
        if module.startswith("lipstream_"):
            assert name in {"cli", "doctor"}, f"{name} imports {module}"
        if module.startswith("lipstream."):
            other = module.split(".")[1]
            theirs = next((k for k, names in enumerate(LAYERS) if other in names), len(LAYERS))
            assert theirs <= level, f"{name} imports {other}, which stands later"


def test_the_engine_needs_neither_torch_nor_asyncio():
    for path in ENGINE.rglob("*.py"):
        assert not {"torch", "asyncio"} & {m.split(".")[0] for m in imports(path)}, path.name


def test_public_names():
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


def test_importing_lipstream_opens_no_runtime():
    heavy = "('openvino', 'onnxruntime', 'torch')"
    code = f"import sys, lipstream; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_modules_stay_small():
    sources = [
        p
        for d in ("engine", "server", "clients", "export", "models", "bench")
        for p in (ROOT / d).rglob("*.py")
    ]
    long = {p.name: n for p in sources if (n := len(p.read_text().splitlines())) > 300}
    assert not long
