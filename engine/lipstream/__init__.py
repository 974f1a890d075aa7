"""lipstream: live sound in, a talking face out, in step with it."""

from lipstream.avatar.pack import Avatar
from lipstream.errors import LipstreamError
from lipstream.inference.model import MouthModel
from lipstream.live.lipsync import LipSync, Options
from lipstream.live.pacer import Pacer
from lipstream.live.worker import Worker
from lipstream.types import AvFrame

__all__ = [
    "AvFrame",
    "Avatar",
    "LipSync",
    "LipstreamError",
    "MouthModel",
    "Options",
    "Pacer",
    "Worker",
]
