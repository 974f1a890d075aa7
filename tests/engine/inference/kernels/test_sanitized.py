"""The kernels under the address and undefined-behaviour sanitizers, on any processor.

They are compiled with `scalar/immintrin.h` in place of the compiler's, so that every load and store
is seen, and all other tests of this folder run on them in a process of their own.
"""

from pathlib import Path

import pytest

from lipstream.inference.kernels import HEADER
from sanitizers import build, run_tests, run_with

HERE = Path(__file__).parent
READ_TOO_FAR = """
#include <stdlib.h>
int lipstream_test(int at) {
    char *held = calloc(8, 1);
    int read = held[at];
    free(held);
    return read;
}
"""


@pytest.mark.slow
def test_a_read_past_the_end_would_be_seen(tmp_path):
    (tmp_path / "wrong.c").write_text(READ_TOO_FAR)
    library = build(tmp_path / "wrong.c", tmp_path / "wrong.so")
    code = f"import ctypes; ctypes.CDLL({str(library)!r}).lipstream_test"
    assert run_with("-c", f"{code}(7)").returncode == 0
    seen = run_with("-c", f"{code}(8)")
    assert seen.returncode != 0
    assert "heap-buffer-overflow" in seen.stderr


@pytest.mark.slow
def test_no_kernel_reads_or_writes_beyond_its_memory_or_computes_what_c_leaves_open(tmp_path):
    source = HEADER.with_name("kernels.c")
    library = build(source, tmp_path / "kernels.so", "-I", HERE / "scalar")
    kept = "not sanitized and not beside_each_other and not library_is_installed"
    run_tests("-k", kept, HERE, LIPSTREAM_TEST_KERNELS=str(library))
