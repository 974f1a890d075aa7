"""What is done when lipstream is packed: its README made fit for an index, its kernels built.

The kernels' compiler is no requirement (docs/decisions/optional-compiler.md): without one,
or elsewhere than on Linux x86-64, the wheel is pure Python. Everything works without the kernels,
Wav2Lip in int8 and the drawing of mouths slower.
"""

import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

_ZIG = [sys.executable, "-m", "ziglang", "cc"]
_ZIG_TARGET = ["-target", "x86_64-linux-gnu.2.17"]
_FLAGS = ["-std=c11", "-O3", "-Wall", "-Wextra", "-shared", "-fPIC", "-s"]


class Kernels(NamedTuple):
    """A C file of the package; the library stands beside it."""

    source: Path
    zig: tuple[str, ...]
    """Zig's words for the processor it is compiled for."""
    system: tuple[str, ...]
    """GCC's and Clang's."""

    @property
    def library(self) -> Path:
        """Where it is built."""
        return self.source.with_suffix(".so")


KERNELS = (
    Kernels(
        Path("engine/lipstream/inference/kernels/kernels.c"),
        ("-mcpu=x86_64_v4+avx512vnni",),
        ("-march=x86-64-v4", "-mavx512vnni"),
    ),
    Kernels(
        Path("engine/lipstream/mouth/warp_pixels.c"),
        ("-mcpu=x86_64_v3",),
        ("-march=x86-64-v3",),
    ),
)

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")


class ReadmeMetadataHook(MetadataHookInterface):
    """Gives the package's page the README, with links and pictures that lead to the repository."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set ``readme``."""
        text = (Path(self.root) / "README.md").read_text("utf-8")
        source = metadata["urls"]["Source"]
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": absolute_links(text, source, f"v{metadata['version']}"),
        }


def absolute_links(text: str, source: str, revision: str) -> str:
    """Return Markdown whose relative links lead to a revision of the repository at ``source``."""

    def absolute(link: re.Match[str]) -> str:
        picture, label, path = link.groups()
        kind = "raw" if picture else "blob"
        return f"{picture}[{label}]({source}/{kind}/{revision}/{path})"

    return _LINK.sub(absolute, text)


class KernelsBuildHook(BuildHookInterface):
    """Compiles the C of the package into libraries beside it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Build the libraries, in place, and say that the wheel holds them."""
        here = (platform.system(), platform.machine())
        if self.target_name != "wheel" or here != ("Linux", "x86_64"):
            return
        compiler = find_compiler()
        if compiler is None:
            self._warn("there is no C compiler (CC, the package ziglang, or cc)")
            return
        root = Path(self.root)
        try:
            for kernels in KERNELS:
                compile_kernels(compiler, kernels, root)
        except (OSError, subprocess.CalledProcessError) as error:
            output = getattr(error, "stderr", b"") or b""
            self._warn(f"{error} {output.decode(errors='replace')[-2000:]}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag(compiler)}"
        build_data["artifacts"] += [str(kernels.library) for kernels in KERNELS]

    def _warn(self, why: str) -> None:
        self.app.display_warning(
            "the kernels were not built, backend 'native' will be missing and mouths be drawn"
            f" slower: {why}"
        )


def find_compiler() -> list[str] | None:
    """Return the compiler's command: ``CC`` if it is set, else Zig's if installed, else ``cc``."""
    if given := os.environ.get("CC"):
        return shlex.split(given)
    if importlib.util.find_spec("ziglang") is not None:
        return _ZIG
    return next(([path] for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)


def platform_tag(compiler: list[str]) -> str:
    """Return where the library runs: Zig links to an old glibc, others to this machine's."""
    return "manylinux_2_17_x86_64" if _is_zig(compiler) else "linux_x86_64"


def compile_kernels(compiler: list[str], kernels: Kernels, root: Path) -> None:
    """Compile, and put the library in place whole; raises CalledProcessError."""
    source, target = root / kernels.source, root / kernels.library
    with tempfile.TemporaryDirectory(prefix="lipstream-") as folder:
        built = Path(folder) / target.name
        caches = {"ZIG_GLOBAL_CACHE_DIR": f"{folder}/all", "ZIG_LOCAL_CACHE_DIR": f"{folder}/own"}
        processor = (*_ZIG_TARGET, *kernels.zig) if _is_zig(compiler) else kernels.system
        command = [*compiler, *processor, *_FLAGS, str(source), "-o", str(built), "-lpthread"]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **caches})
        unfinished = target.with_suffix(".part")
        unfinished.write_bytes(built.read_bytes())
        unfinished.replace(target)


def _is_zig(compiler: list[str]) -> bool:
    return any("zig" in Path(word).name for word in compiler)
