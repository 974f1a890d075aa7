"""C under the address and undefined-behaviour sanitizers of GCC, called from Python."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
BUILD = ["-std=c11", "-O0", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]


def find_gcc() -> str:
    """GCC, whose sanitizers come with it: Zig brings none for addresses. Skips without."""
    path = shutil.which("gcc")
    if path is None:
        pytest.skip("there is no gcc: apt install gcc")
    return path


def build(source: Path, target: Path, *options: str | Path) -> Path:
    """Compile a library with the sanitizers."""
    command = [find_gcc(), *BUILD, *SANITIZERS, *options, source, "-o", target, "-lpthread", "-lm"]
    done = subprocess.run(command, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return target


def run_with(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the sanitizers' library before all others, and what it needs for C++."""
    first = " ".join(map(_library, ("libasan.so", "libstdc++.so.6")))
    environment |= {"LD_PRELOAD": first, "ASAN_OPTIONS": "detect_leaks=0"}
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def _library(name: str) -> str:
    asked = [find_gcc(), f"-print-file-name={name}"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def run_tests(*words: str | Path, **environment: str) -> None:
    """Run tests in a process of their own, none of which may fail or be skipped."""
    done = run_with("-m", "pytest", "-q", "-p", "no:cacheprovider", *words, **environment)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "skipped" not in done.stdout.splitlines()[-1]
