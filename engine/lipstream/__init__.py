"""lipstream: live sound in, a talking face out, in step with it.

Here belongs what a program needs that embeds the engine: sound to faces, with numpy, OpenCV and
PyAV; no torch, no asyncio, no socket that is served. The public names are in ``__all__``.
"""

import os
import sys
from types import ModuleType
from typing import cast

# ONNX Runtime reads this as it is imported. Without it every run queues events for its makers and
# writes a device id into the user's cache. Whoever wants that sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# OpenVINO tells its makers of each import and keeps an id in the home, unless this cannot be had.
if "openvino_telemetry" not in sys.modules:
    sys.modules["openvino_telemetry"] = cast(ModuleType, None)

from lipstream.avatar.pack import Avatar
from lipstream.errors import LipstreamError
from lipstream.film.render import render_film as render
from lipstream.inference.model import MouthModel
from lipstream.live.conversation import AvatarStream, Conversation
from lipstream.live.lipsync import LipSync, Options
from lipstream.live.worker import Worker
from lipstream.types import AvFrame

__all__ = [
    "AvFrame",
    "Avatar",
    "AvatarStream",
    "Conversation",
    "LipSync",
    "LipstreamError",
    "MouthModel",
    "Options",
    "Worker",
    "render",
]
