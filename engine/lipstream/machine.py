"""The computer this program runs on: its processor, its cores, and what is installed."""

import functools
import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

from lipstream.errors import BackendUnavailable

PACKAGES = ("numpy", "opencv-python-headless", "av", "onnxruntime", "rich")
OPTIONAL_PACKAGES = (
    *("aiortc", "aioice", "starlette", "uvicorn"),
    *("onnxruntime-gpu", "openvino", "sounddevice", "pygame-ce"),
    *("tensorrt", "tensorrt-rtx-cu13", "cuda-bindings", "nvidia-cuda-nvrtc"),
    *("matplotlib", "onnx", "torch"),
)
EXTRA_OF = {
    **dict.fromkeys(("aioice", "aiortc", "msgspec", "prometheus_client"), "serve"),
    **dict.fromkeys(("starlette", "uvicorn", "websockets"), "serve"),
    **dict.fromkeys(("pygame", "sounddevice"), "mic"),
    **dict.fromkeys(("matplotlib", "numba", "scipy"), "train"),
    **dict.fromkeys(("onnx", "torch"), "export"),
    **{"openvino": "cpu", "pocketsphinx": "align", "c2pa": "sign", "pyvirtualcam": "camera"},
}
"""Import name of an optional package -> the extra of this project that brings it."""
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


def processor_flags() -> frozenset[str]:
    """Return the processor's instruction sets as Linux names them; none on other systems."""
    return frozenset(_processor()[1])


def usable_cores() -> int:
    """Return the number of processors that this program may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def steady_time() -> float:
    """Return seconds since 1970 that never leap: the wall clock, read once and counted on.

    Whoever sets the machine's clock while a program runs makes no file older and no link invalid.
    """
    return _begun() + time.monotonic()


@functools.cache
def _begun() -> float:
    return datetime.now(UTC).timestamp() - time.monotonic()


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
    versions: dict[str, str] = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def plugin_names(group: str) -> tuple[str, ...]:
    """Return the names that installed packages add to an entry-point group; nothing is imported."""
    return tuple(sorted({point.name for point in entry_points(group=group)}))


def load_plugin(group: str, name: str) -> Any:
    """Return the object that an installed package adds under ``name``; None where none does.

    Raises BackendUnavailable when it cannot be imported, or two packages add the same name.
    """
    points = tuple(entry_points(group=group, name=name))
    if len(points) > 1:
        both = " and ".join(map(_package_of, points))
        raise BackendUnavailable(f"'{name}' ({group}) is added by {both}: uninstall one of them")
    if not points:
        return None
    try:
        return points[0].load()
    except Exception as error:  # of somebody else's package, whatever it is
        raise BackendUnavailable(
            f"'{name}' ({group}) of the package {_package_of(points[0])} cannot be loaded:"
            f" {type(error).__name__}: {error}; update or uninstall it"
        ) from error


def _package_of(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
