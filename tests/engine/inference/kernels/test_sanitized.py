"""The kernels under the address and undefined-behaviour sanitizers, on any processor.

They are compiled with `scalar/immintrin.h` in place of the compiler's, so that every load and store
is seen, and all other tests of this folder run on them in a process of their own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lipstream.inference.kernels import HEADER

HERE = Path(__file__).parent
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
BUILD = ["-std=c11", "-O0", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
READ_TOO_FAR = """
#include <stdlib.h>
int lipstream_test(int at) {
    char *held = calloc(8, 1);
    int read = held[at];
    free(held);
    return read;
}
"""


@pytest.fixture(scope="module")
def gcc():
    """GCC, whose sanitizers come with it: Zig brings none for addresses."""
    path = shutil.which("gcc")
    if path is None:
        pytest.skip("there is no gcc: apt install gcc")
    return path


def build(gcc: str, source: Path, target: Path) -> Path:
    command = [gcc, *BUILD, *SANITIZERS, "-I", HERE / "scalar", source, "-o", target]
    done = subprocess.run([*command, "-lpthread", "-lm"], stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return target


def run_with(gcc: str, *command: str | Path, **environment: str) -> subprocess.CompletedProcess:
    """Run Python with the sanitizers' library before all others."""
    asan = subprocess.run(
        [gcc, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    environment |= {"LD_PRELOAD": asan.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def test_a_read_past_the_end_would_be_seen(gcc, tmp_path):
    (tmp_path / "wrong.c").write_text(READ_TOO_FAR)
    library = build(gcc, tmp_path / "wrong.c", tmp_path / "wrong.so")
    code = f"import ctypes; ctypes.CDLL({str(library)!r}).lipstream_test"
    assert run_with(gcc, "-c", f"{code}(7)").returncode == 0
    seen = run_with(gcc, "-c", f"{code}(8)")
    assert seen.returncode != 0
    assert "heap-buffer-overflow" in seen.stderr


@pytest.mark.slow
def test_no_kernel_reads_or_writes_beyond_its_memory_or_computes_what_c_leaves_open(gcc, tmp_path):
    library = build(gcc, HEADER.with_name("kernels.c"), tmp_path / "kernels.so")
    kept = "not sanitized and not beside_each_other and not library_is_installed"
    pytest_command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", kept, HERE]
    done = run_with(gcc, *pytest_command, LIPSTREAM_TEST_KERNELS=str(library))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "skipped" not in done.stdout.splitlines()[-1]
