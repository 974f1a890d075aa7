"""Our own int8 kernels: what Wav2Lip's mouth is computed with on processors with AVX-512 VNNI.

Libraries multiply 8-bit numbers at nearly the rate of the processor, so what is left to gain is to
multiply less: Winograd's convolution takes 16 products where they take 36. ``plan`` says what is
computed, ``*.h`` and ``kernels.c`` compute it, ``frame`` lays the two together. The shared library
is built when the package is installed (``hatch_build.py``).
"""

import ctypes
import functools
import platform
from pathlib import Path

from lipstream.errors import BackendUnavailable

__all__ = ["KINDS", "Step", "kernels_run_here", "load_library"]

KINDS = ("load", "hear", "round", "gather", "winograd", "paint")
"""Kinds of steps, in the order of ``enum kind`` in step.h."""
LIBRARY = Path(__file__).with_name("kernels.so")
_NEEDED = ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni")


class Step(ctypes.Structure):
    """One step as the kernels read it; step.h says what the fields mean."""

    _fields_ = (
        *(
            (name, ctypes.c_void_p)
            for name in ("from_", "to", "add", "weights", "sums", "scales", "bias")
        ),
        *((name, ctypes.c_void_p) for name in ("peak_in", "peak_out", "taps")),
        *((name, ctypes.c_float) for name in ("unit", "add_unit")),
        *(
            (name, ctypes.c_int32)
            for name in ("kind", "tap_count", "depth", "channels", "height", "width")
        ),
        *((name, ctypes.c_int32) for name in ("from_stride", "from_pitch", "to_stride")),
        *((name, ctypes.c_int32) for name in ("to_pitch", "add_stride", "add_pitch")),
    )


@functools.cache
def load_library() -> ctypes.CDLL:
    """Return the shared library.

    Raises BackendUnavailable where the processor lacks what it needs, or where it was not built.
    """
    flags = _processor_flags()
    lacking = [flag for flag in _NEEDED if flag not in flags]
    if lacking:
        raise BackendUnavailable(
            "backend 'native' needs Linux on a processor with AVX-512 VNNI; this one lacks"
            f" {', '.join(lacking)}: choose openvino"
        )
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        raise BackendUnavailable(
            "backend 'native' was not built when lipstream was installed: install it again with"
            f" 'pip install --force-reinstall --no-deps', and look for a warning ({error})"
        ) from error
    library.lipstream_open.restype = ctypes.c_void_p
    library.lipstream_open.argtypes = (
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p),
        *(ctypes.c_int, ctypes.c_int, ctypes.c_int),
    )
    library.lipstream_run.argtypes = library.lipstream_close.argtypes = (ctypes.c_void_p,)
    library.lipstream_run.restype = library.lipstream_close.restype = None
    assert library.lipstream_step_size() == ctypes.sizeof(Step), "kernels.so is of another version"
    return library


def kernels_run_here() -> bool:
    """Return whether ``load_library`` finds what it needs."""
    try:
        load_library()
    except BackendUnavailable:
        return False
    return True


def _processor_flags() -> frozenset[str]:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return frozenset()
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        if line.startswith("flags"):
            return frozenset(line.split())
    return frozenset()
