"""Build the int8 kernels when lipstream is installed or packed, with a compiler that pip brings.

Elsewhere than on Linux x86-64 there is nothing to build, and the wheel is pure Python. A failure is
a warning: without the kernels everything works, Wav2Lip in int8 slower.
"""

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("engine/lipstream/inference/kernels")
LIBRARY = FOLDER / "kernels.so"
TAG = "py3-none-manylinux_2_17_x86_64"
_COMPILE = (
    *("-m", "ziglang", "cc", "-target", "x86_64-linux-gnu.2.17", "-mcpu=x86_64_v4+avx512vnni"),
    *("-std=c11", "-O3", "-Wall", "-Wextra", "-shared", "-fPIC", "-s", "-lpthread"),
)


class KernelsBuildHook(BuildHookInterface):
    """Compiles ``kernels.c`` into the package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Build the library, in place, and say that the wheel holds it."""
        here = (platform.system(), platform.machine())
        if self.target_name != "wheel" or here != ("Linux", "x86_64"):
            return
        root = Path(self.root)
        try:
            compile_kernels(root / FOLDER / "kernels.c", root / LIBRARY)
        except (OSError, subprocess.CalledProcessError) as error:
            written = getattr(error, "stderr", b"") or b""
            self.app.display_warning(
                f"the int8 kernels were not built, backend 'native' will be missing: {error}"
                f" {written.decode(errors='replace')[-2000:]}"
            )
            return
        build_data["pure_python"] = False
        build_data["tag"] = TAG
        build_data["artifacts"].append(str(LIBRARY))


def compile_kernels(source: Path, target: Path) -> None:
    """Compile, and put the library in place whole; raises CalledProcessError."""
    with tempfile.TemporaryDirectory(prefix="lipstream-") as folder:
        built = Path(folder) / target.name
        caches = {"ZIG_GLOBAL_CACHE_DIR": f"{folder}/all", "ZIG_LOCAL_CACHE_DIR": f"{folder}/own"}
        command = [sys.executable, *_COMPILE, str(source), "-o", str(built)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **caches})
        unfinished = target.with_suffix(".part")
        unfinished.write_bytes(built.read_bytes())
        unfinished.replace(target)
