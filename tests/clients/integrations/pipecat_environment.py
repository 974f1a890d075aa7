"""Pipecat pins another ``livekit`` than LiveKit Agents: it has an environment of its own."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ("engine", "server", "clients", "export", "models", "bench", "tests")


def pipecat_python() -> str:
    """Return the interpreter of that environment; skips where ``make pipecat`` has not made it."""
    python = os.environ.get("LIPSTREAM_PIPECAT_PYTHON", str(ROOT / ".venv-pipecat/bin/python"))
    if not Path(python).exists():
        pytest.skip("no environment with Pipecat: make pipecat")
    return python


def environment() -> dict[str, str]:
    """Return what a process there needs to import this tree."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / one) for one in SOURCES)}


def run_there(*words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in that environment, at the root of the tree."""
    return subprocess.run(
        [pipecat_python(), *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
