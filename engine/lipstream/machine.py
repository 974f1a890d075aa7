"""The computer this program runs on: its processor, its cores, and what is installed."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("numpy", "opencv-python-headless", "av", "aiortc", "starlette", "uvicorn", "rich")
OPTIONAL_PACKAGES = (
    *("onnxruntime", "onnxruntime-gpu", "openvino", "sounddevice", "pygame-ce"),
    *("tensorrt", "tensorrt-rtx-cu13", "cuda-bindings"),
    *("matplotlib", "onnx", "torch"),
)
_CPU_FLAGS = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni"),
    *("amx_bf16", "amx_int8", "asimd"),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """The computer a figure was measured on."""

    cpu: str
    """Model name of the processor."""
    cores: int
    """Processors that this program may use."""
    cpu_flags: tuple[str, ...]
    """Instruction sets that matter to networks."""
    memory_gb: float
    system: str
    python: str
    versions: dict[str, str]
    """Package -> version, of what is installed."""


def describe_machine() -> Machine:
    """Return what this program runs on."""
    cpu, flags = _processor()
    return Machine(
        cpu=cpu,
        cores=usable_cores(),
        cpu_flags=tuple(flag for flag in _CPU_FLAGS if flag in flags),
        memory_gb=_memory_gb(),
        system=f"{_distribution()}, {platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions=installed_versions(("lipstream", *PACKAGES, *OPTIONAL_PACKAGES)),
    )


def _processor() -> tuple[str, set[str]]:
    """Return the model name and the instruction sets, from Linux's list where there is one."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    path = Path("/proc/cpuinfo")
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "model name":
            name = value
        elif key in ("flags", "Features"):
            flags = set(value.split())
    return name, flags


def usable_cores() -> int:
    """Return the number of processors that this program may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gb() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, OSError, ValueError):
        return 0.0


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform(terse=True)


def installed_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Return package -> version, of those that are installed."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
