"""Our own int8 kernels: what Wav2Lip's mouth is computed with on processors with AVX-512 VNNI.

Libraries multiply 8-bit numbers at nearly the rate of the processor, so what is left to gain is to
multiply less: Winograd's convolution takes 16 products where they take 36. ``plan`` says what is
computed, ``*.h`` and ``kernels.c`` compute it, and ``backends.native`` runs a plan with them. The
shared library is built when the package is installed (``hatch_build.py``). Kinds of steps are named
as XNNPACK names its kernels; they and the layout of a step stand in ``step.h`` alone, which is read
here.

And ``mouth.cu``: what a GPU does round the network of a mouth, compiled for the card at hand.
"""

import ctypes
import functools
import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipstream.errors import BackendUnavailable
from lipstream.machine import processor_flags

__all__ = ["StepHeader", "compile_kernels", "kernels_run_here", "load_library", "step_header"]

HEADER = Path(__file__).with_name("step.h")
CUDA = Path(__file__).with_name("mouth.cu")
LIBRARY = Path(__file__).with_name("kernels.so")
_NEEDED = ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni")
_TYPES = {"float": ctypes.c_float, "int32_t": ctypes.c_int32}
_REINSTALL = "install lipstream again with 'pip install --force-reinstall --no-deps'"


@dataclass(frozen=True, slots=True)
class StepHeader:
    """What ``step.h`` says."""

    abi: int
    """Raised whenever the kernels and who calls them have to change together."""
    kinds: tuple[str, ...]
    """Kinds of steps, in the order of the enumeration."""
    step: type[ctypes.Structure]
    """One step as the kernels read it; ``from`` is called ``from_``."""


@functools.cache
def step_header() -> StepHeader:
    """Read ``step.h``, which lies beside this file."""
    return parse_header(HEADER.read_text("ascii"))


def parse_header(text: str) -> StepHeader:
    """Return the ABI number, the kinds and the struct of a step from the text of ``step.h``."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    abi = _only(re.findall(r"#define LIPSTREAM_ABI (\d+)", text))
    kinds = _only(re.findall(r"#define STEP_KINDS\(KIND\)((?: *\\\n)?[^\n]*)", text))
    body = _only(re.findall(r"typedef struct \{([^}]*)\} Step;", text))
    fields: list[tuple[str, type]] = []
    for declaration in filter(None, map(str.strip, body.split(";"))):
        kind, _, names = declaration.removeprefix("const ").partition(" ")
        for declared in names.split(","):
            name = declared.strip(" *")
            field_type = ctypes.c_void_p if "*" in declared else _TYPES[kind]
            fields.append((f"{name}_" if name == "from" else name, field_type))
    step = type("Step", (ctypes.Structure,), {"_fields_": fields})
    return StepHeader(int(abi), tuple(re.findall(r"KIND\((\w+)\)", kinds)), step)


def _only(names: list[str]) -> str:
    (one,) = names
    return one


@functools.cache
def load_library() -> ctypes.CDLL:
    """Return the shared library.

    Raises BackendUnavailable where the processor lacks what it needs, where it was not built, or
    where it is of another version than this package.
    """
    flags = processor_flags()
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
            f"backend 'native' was not built when lipstream was installed: {_REINSTALL}, and look"
            f" for a warning ({error})"
        ) from error
    check_abi(library)
    library.lipstream_open.restype = ctypes.c_void_p
    library.lipstream_open.argtypes = (
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p),
        *(ctypes.c_int, ctypes.c_int, ctypes.c_int),
    )
    library.lipstream_run.argtypes = library.lipstream_close.argtypes = (ctypes.c_void_p,)
    library.lipstream_run.restype = library.lipstream_close.restype = None
    return library


def check_abi(library: ctypes.CDLL) -> None:
    """Raise BackendUnavailable for a library that was built from another ``step.h``."""
    header = step_header()
    built = [getattr(library, f"lipstream_{name}", lambda: 0)() for name in ("abi", "step_size")]
    if built != [header.abi, ctypes.sizeof(header.step)]:
        raise BackendUnavailable(
            f"backend 'native': {LIBRARY.name} is of another build (ABI {built[0]}, {header.abi}"
            f" expected): {_REINSTALL}"
        )


def kernels_run_here() -> bool:
    """Return whether ``load_library`` finds what it needs."""
    try:
        load_library()
    except BackendUnavailable:
        return False
    return True


def open_nvrtc() -> Any:
    """Return ``cuda.bindings.nvrtc``; raises BackendUnavailable where NVRTC is not installed."""
    try:
        nvrtc = importlib.import_module("cuda.bindings.nvrtc")
        nvrtc.nvrtcVersion()  # the library itself is loaded by the first call
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendUnavailable(
            "TensorRT needs NVRTC, which compiles for the GPU: pip install nvidia-cuda-nvrtc"
        ) from error
    return nvrtc


def compile_kernels(capability: str) -> bytes:
    """Return ``mouth.cu`` compiled for a compute capability, such as "8.9".

    Raises BackendUnavailable where NVRTC cannot: a card older than it knows, or a mistake of ours.
    """
    nvrtc = open_nvrtc()
    source, name = CUDA.read_bytes(), CUDA.name.encode()
    known = [int(one) for one in _checked(nvrtc.nvrtcGetSupportedArchs)]
    option = f"--gpu-architecture=sm_{choose_architecture(capability, known)}"
    program = _checked(nvrtc.nvrtcCreateProgram, source, name, 0, [], [])
    try:
        code = _compile(nvrtc, program, [option.encode()])
    except BaseException:
        nvrtc.nvrtcDestroyProgram(program)
        raise
    _checked(nvrtc.nvrtcDestroyProgram, program)
    return code


def _compile(nvrtc: Any, program: Any, options: list[bytes]) -> bytes:
    status, *_ = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if int(status) != 0:
        failed, size = nvrtc.nvrtcGetProgramLogSize(program)
        told = b" " * (0 if int(failed) else int(size))
        nvrtc.nvrtcGetProgramLog(program, told)  # where it fails the status has to do
        reason = told.decode(errors="replace").strip("\0 \n")[:300]
        raise BackendUnavailable(f"CUDA refused nvrtcCompileProgram: {reason or _named(status)}")
    code = b" " * int(_checked(nvrtc.nvrtcGetCUBINSize, program))
    _checked(nvrtc.nvrtcGetCUBIN, program, code)
    return code


def choose_architecture(capability: str, known: Sequence[int]) -> int:
    """Return the newest of the architectures, 89 for 8.9, whose code runs on a capability."""
    major, minor = (int(one) for one in capability.split("."))
    fits = [one for one in known if one // 10 == major and one % 10 <= minor]
    if not fits:
        raise BackendUnavailable(
            f"NVRTC compiles nothing for compute capability {capability}: it knows"
            f" {', '.join(map(str, known))}; install nvidia-cuda-nvrtc of the card's time"
        )
    return max(fits)


def _checked(function: Callable[..., Any], *arguments: Any) -> Any:
    status, *results = function(*arguments)
    if int(status) != 0:
        raise BackendUnavailable(f"CUDA refused {function.__name__}: {_named(status)}")
    return results[0] if results else None


def _named(status: Any) -> str:
    return str(getattr(status, "name", status))
