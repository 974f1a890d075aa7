"""``lipstream doctor``: what is installed here and what is missing, fit to paste into an issue.

Nothing personal is shown: no names of people, and the home folder is written ``~``.
"""

import argparse
import importlib.util
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lipstream.errors import LipstreamError
from lipstream.inference.backends import RESTORE_CUDA, backend_names
from lipstream.machine import (
    OPTIONAL_PACKAGES,
    PACKAGES,
    describe_machine,
    installed_versions,
    usable_cores,
)

PORT = 8080
_CODECS = ("libx264", "aac", "libvpx", "libopus", "libmp3lame", "flac")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    what: str
    text: str
    advice: str = ""
    """What to do; empty when all is well."""


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Take nothing."""


def run(_arguments: argparse.Namespace) -> int:
    """Print the report; returns 0, whatever is missing."""
    findings = list(examine())
    width = max(len(finding.what) for finding in findings)
    lines = [f"{finding.what:<{width}}  {finding.text}" for finding in findings]
    advice = [f"- {finding.what}: {finding.advice}" for finding in findings if finding.advice]
    lines += ["", "to do:", *advice] if advice else ["", "nothing is missing"]
    sys.stdout.write(_private("\n".join(lines)) + "\n")
    return 0


def examine() -> Iterator[Finding]:
    """Look at everything, one finding after the other."""
    machine = describe_machine()
    yield Finding("lipstream", machine.versions.get("lipstream", "not installed as a package"))
    yield Finding("python", machine.python)
    yield Finding("system", machine.system)
    flags = " ".join(machine.cpu_flags) or "none of note"
    yield Finding("processor", f"{machine.cpu}, {machine.cores} cores, {flags}")
    yield Finding("memory", f"{machine.memory_gb:.1f} GB")
    yield Finding("packages", _listed(machine.versions, (*PACKAGES, *OPTIONAL_PACKAGES)))
    yield Finding("backends", ", ".join(backend_names()))
    checks = (_onnxruntime, _telemetry, _openvino, _kernels, _drawing, _gpu, *_PARTS)
    for check in checks:
        yield guarded(check)


def guarded(check: Callable[[], Finding]) -> Finding:
    """Return what a check finds, or that the part it looks at is broken."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001  a broken part is what a doctor is there to report
        what = check.__name__.strip("_").replace("_", " ")
        return Finding(what, f"broken: {type(error).__name__}: {error}", "install it again")


def _onnxruntime() -> Finding:
    both = installed_versions(("onnxruntime", "onnxruntime-gpu"))
    if importlib.util.find_spec("onnxruntime") is None:
        return Finding("onnxruntime", "missing", "pip install onnxruntime")
    import onnxruntime  # noqa: PLC0415  optional

    text = ", ".join(onnxruntime.get_available_providers())
    overwritten = len(both) > 1 and "CUDAExecutionProvider" not in text
    return Finding("onnxruntime", text, RESTORE_CUDA if overwritten else "")


def _telemetry() -> Finding:
    switch = os.environ.get("ORT_DISABLE_TELEMETRY")
    if switch in (None, "0"):
        return Finding("telemetry", "ONNX Runtime may send events", "unset ORT_DISABLE_TELEMETRY")
    if sys.modules.get("openvino_telemetry") is not None:
        return Finding("telemetry", "OpenVINO may send events", "import lipstream before openvino")
    return Finding("telemetry", "off (ONNX Runtime's and OpenVINO's; nothing else here has any)")


def _openvino() -> Finding:
    if importlib.util.find_spec("openvino") is None:
        return Finding("openvino", "missing", "pip install 'lipstream[cpu]' (the fastest on CPUs)")
    import openvino  # noqa: PLC0415  optional

    return Finding("openvino", ", ".join(openvino.Core().available_devices))


def _kernels() -> Finding:
    from lipstream.inference.kernels import load_library  # noqa: PLC0415  to be reported when broken

    try:
        load_library()
    except LipstreamError as error:
        return Finding("int8 kernels", f"not usable: {error}")  # openvino has int8 everywhere
    return Finding("int8 kernels", "AVX-512 VNNI")


def _drawing() -> Finding:
    from lipstream.mouth.drawing import load_library  # noqa: PLC0415  to be reported when broken

    if load_library() is None:
        return Finding("drawing of mouths", "OpenCV, which is slower: not compiled, or no AVX2")
    return Finding("drawing of mouths", "compiled, AVX2")


def _gpu() -> Finding:
    from lipstream.inference.backends.cuda import find_gpu  # noqa: PLC0415  optional

    apis = [one for one in ("tensorrt", "tensorrt_rtx") if importlib.util.find_spec(one)]
    try:
        gpu = find_gpu()
    except LipstreamError as error:
        # On a machine without a GPU nothing is missing, so this is no advice.
        return Finding("gpu", f"{', '.join(apis) or 'no TensorRT'}; not usable: {error}")
    text = f"{gpu.name}, compute capability {gpu.compute_capability}, CUDA {gpu.driver // 1000}"
    advice = "" if apis else "pip install 'lipstream[tensorrt]' (the fastest on NVIDIA's)"
    return Finding("gpu", f"{text}, {', '.join(apis) or 'no TensorRT'}", advice)


def _codecs() -> Finding:
    import av  # noqa: PLC0415  slow to import, and to be reported when broken

    text = " ".join(name if name in av.codecs_available else f"(no {name})" for name in _CODECS)
    advice = "pip install --only-binary :all: av (without libx264 films are MPEG-4)"
    return Finding("codecs", text, "" if "libx264" in av.codecs_available else advice)


def _encoder() -> Finding:
    from lipstream.media.codecs import live_encoder  # noqa: PLC0415  imports PyAV

    choice = live_encoder("H264")
    return Finding("encoder", f"H.264 for viewers by {choice.encoder.name}: {choice.reason}")


def _sound_devices() -> Finding:
    if importlib.util.find_spec("sounddevice") is None:
        return Finding("sound devices", "sounddevice missing", "pip install 'lipstream[mic]'")
    try:
        import sounddevice  # noqa: PLC0415  optional
    except OSError:
        return Finding(
            "sound devices", "PortAudio missing", "Debian, Ubuntu: apt install libportaudio2"
        )
    devices = sounddevice.query_devices()
    inputs = sum(device["max_input_channels"] > 0 for device in devices)
    outputs = sum(device["max_output_channels"] > 0 for device in devices)
    return Finding("sound devices", f"{inputs} microphones, {outputs} loudspeakers")


def _window() -> Finding:
    if importlib.util.find_spec("pygame") is None:
        return Finding("window", "pygame-ce missing", "pip install 'lipstream[mic]'")
    screen = any(name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    has_screen = screen or sys.platform in ("win32", "darwin")
    return Finding(
        "window", "pygame-ce is there" + ("" if has_screen else ", no screen (DISPLAY unset)")
    )


def _model() -> Finding:
    from lipstream.inference.manifest import embedded_folder  # noqa: PLC0415  heavy
    from lipstream.inference.model import MouthModel  # noqa: PLC0415  heavy
    from lipstream.storage import sha256_of  # noqa: PLC0415

    folder = embedded_folder() / "mouth"
    try:
        with MouthModel.open(threads=1) as model:
            manifest, backend = model.manifest, model.backend
    except LipstreamError as error:
        return Finding("embedded model", str(error), "install lipstream again")
    digest = sha256_of(folder / "lips.onnx")[:12]
    text = f"{manifest.name} {manifest.version}, lips.onnx {digest}…, checksums right, on {backend}"
    return Finding("embedded model", text)


def _avatar() -> Finding:
    from lipstream.avatar.pack import Avatar  # noqa: PLC0415  heavy

    try:
        avatar = Avatar.open()
    except LipstreamError as error:
        return Finding("embedded avatar", str(error), "install lipstream again")
    size = f"{avatar.width}x{avatar.height}"
    return Finding("embedded avatar", f"{avatar.name}, {len(avatar)} frames {size}, checksum right")


def _port() -> Finding:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        port_in_use = probe.connect_ex(("127.0.0.1", PORT)) == 0
    advice = (
        "'lipstream serve --port 8081', or end the program that listens there"
        if port_in_use
        else ""
    )
    return Finding(f"port {PORT}", "in use" if port_in_use else "free", advice)


def _serving() -> Finding:
    from lipstream.live.worker import choose_frame_threads  # noqa: PLC0415
    from lipstream_server.config import ServerConfig  # noqa: PLC0415  to be reported when broken

    sessions = ServerConfig().sessions
    chosen = choose_frame_threads(sessions, usable_cores())
    plural = "s" if chosen.count > 1 else ""
    at_once = f"{chosen.count} frame{plural} made at once ({chosen.reason})"
    return Finding("serving", f"{sessions} sessions; without a GPU {at_once}")


_PARTS = (_codecs, _encoder, _sound_devices, _window, _model, _avatar, _port, _serving)


def _listed(versions: dict[str, str], names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in names if name in versions)


def _private(text: str) -> str:
    """Return the text with the home folder written ``~``."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text
