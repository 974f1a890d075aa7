"""lipstream: live sound in, a talking face out, in step with it."""

from lipstream.avatar import Avatar
from lipstream.errors import LipstreamError
from lipstream.lips import LipSync, Options
from lipstream.model import MouthModel
from lipstream.pacer import Pacer
from lipstream.types import AvFrame
from lipstream.worker import Worker

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
