"""One session: sound in, pictures out. No thread, no clock, no file.

    pcm -> ring (session rate) ------------------------------> the frame's own samples
        -> resampler -> ring (16 kHz) -> mel window -> mouth -> compositor -> AvFrame

A frame is ready when the rings hold every sample that its mel window is a function of, and its own.
Who drives the pipeline runs the mouth model between ``next_request`` and ``complete``:
``lipsync.py`` in a loop, ``worker.py`` for many sessions on the engine's threads.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lipstream.audio.mel import MelWindow
from lipstream.audio.resampler import Resampler, to_pcm
from lipstream.audio.ring import RingBuffer
from lipstream.audio.silence_gate import SilenceGate
from lipstream.errors import InputError
from lipstream.inference.model import MouthModel
from lipstream.lips.shape import LipFrame
from lipstream.live.compositor import LipCompositor, MouthCompositor
from lipstream.live.frame_source import FrameSource, SourceFrame
from lipstream.timing import MODEL_RATE, Span, Timing
from lipstream.types import Array, AvFrame, Float32, Image, Patch, Pcm

_RING_SECONDS = 2
LARGEST_PIECE_SECONDS = 0.25
"""Sound is taken in pieces no longer than this, so that a ring never overruns."""
_GATE_BEFORE, _GATE_AFTER = MODEL_RATE * 40 // 1000, MODEL_RATE * 120 // 1000
"""The gate hears from 40 ms before a frame to 120 ms after its start: lips open before sound."""


@dataclass(frozen=True, slots=True)
class MouthRequest:
    """What the mouth model needs for one frame."""

    index: int
    """Frame number."""
    mel: Float32
    """(1, 1, 80, columns) float32."""
    picture: SourceFrame
    """What the mouth goes onto."""


class Pipeline:
    """The state of one session."""

    def __init__(self, source: FrameSource, timing: Timing, compositor: MouthCompositor) -> None:
        self.timing = timing
        self._source = source
        self._compositor = compositor
        self._resampler = Resampler(timing.rate)
        self._sound = RingBuffer(timing.rate * _RING_SECONDS)
        self._model_sound = RingBuffer(MODEL_RATE * _RING_SECONDS, np.float32)
        self._mel = MelWindow(timing.mel_columns)
        self._gate = SilenceGate()
        self.reset()

    def reset(self) -> None:
        """Forget all sound: the next sample is number 0, the next frame is frame 0."""
        self._resampler.reset()
        self._sound.clear()
        self._model_sound.clear()
        self._mel.reset()
        self._gate.reset()
        self._compositor.reset()
        self._next = 0
        self._frames: int | None = None

    def feed(self, pcm: Pcm) -> None:
        """Take (n,) int16 at the session's rate, a piece of ``pieces``. Drain the frames after."""
        if self._frames is not None:
            raise InputError("this sound has ended: call reset() before feeding the next one")
        self._sound.append(pcm)
        self._model_sound.append(self._resampler.feed(pcm))

    def flush(self) -> None:
        """Say that the sound has ended: the frames left are those that cover its last sample."""
        if self._frames is None:
            self._frames = self.timing.frame_count(self._sound.stop)
            self._model_sound.append(self._resampler.flush())

    @property
    def backlog_samples(self) -> int:
        """Session samples taken past those that the next frame needs; negative while it waits."""
        needed = self.timing.mel_span(self._next).stop * self.timing.rate // MODEL_RATE
        return self._sound.stop - needed

    @property
    def missing_samples(self) -> float:
        """Session samples to be fed before the next frame is complete.

        0 or less when it is; infinite when the sound has ended and no frame is left.
        """
        if self._frames is not None:
            return 0 if self._next < self._frames else math.inf
        heard = self.timing.frame_span(self._next).stop
        painted = self._resampler.needed(self.timing.mel_span(self._next).stop)
        return max(heard, painted) - self._sound.stop

    def next_request(self) -> MouthRequest | None:
        """Return what the next frame needs, or None when its sound is not all there yet."""
        if self.missing_samples > 0:
            return None
        if self._frames is not None:
            missing = self.timing.mel_span(self._next).stop - self._model_sound.stop
            self._model_sound.append(np.zeros(max(0, missing), np.float32))
        mel = self._mel.read(self.timing.first_column(self._next), self._model_sound)[None, None]
        return MouthRequest(self._next, mel, self._source.picture(self._next, self.timing.fps))

    def complete(self, request: MouthRequest, mouth: Array | None) -> AvFrame:
        """Turn what the model says of ``request`` (``MouthModel.mouth``) into the next frame.

        ``mouth`` is None where the request's picture has no face.
        """
        assert request.index == self._next, "requests are completed in order"
        gate = self._gate.step(self._around(request.index))
        openness = gate if self._source.rests else 1.0
        shown = self._shown(request.picture, mouth, openness)
        span = self.timing.frame_span(request.index)
        heard = Span(span.start, min(span.stop, self._sound.stop))
        self._next += 1
        return AvFrame(
            request.index,
            shown,
            self._sound.read(heard),
            span.start,
            openness,
        )

    def _shown(self, picture: SourceFrame, mouth: Array | None, openness: float) -> Image | Patch:
        target = picture.target
        if target is None or mouth is None:
            return (picture.image if target is None else target.image).copy()
        return self._compositor.patch(target, mouth, openness)

    def lips(self, mouth: Array | None) -> LipFrame | None:
        """Return the lips that a model of shapes says, for frames that are composed elsewhere."""
        if mouth is None or not isinstance(self._compositor, LipCompositor):
            return None
        return self._compositor.lips(mouth)

    def skip(self, request: MouthRequest) -> None:
        """Go past the next frame without making it."""
        assert request.index == self._next, "requests are completed in order"
        self._gate.step(self._around(request.index))
        self._next += 1

    def _around(self, index: int) -> Float32:
        start = index * MODEL_RATE * self.timing.fps.denominator // self.timing.fps.numerator
        stop = min(start + _GATE_AFTER, self._model_sound.stop)
        return self._model_sound.read(Span(start - _GATE_BEFORE, max(stop, start - _GATE_BEFORE)))


def pieces(pcm: ArrayLike, rate: int) -> Iterator[Pcm]:
    """Cut sound into views short enough for ``Pipeline.feed``; raises InputError when unusable."""
    length = int(rate * LARGEST_PIECE_SECONDS)
    checked = to_pcm(pcm)
    for at in range(0, len(checked), length):
        yield checked[at : at + length]


def paint(model: MouthModel, request: MouthRequest) -> Array | None:
    """Run the mouth model for one request: a row of ``mouth``, reused by the next call."""
    features = request.picture.features
    return None if features is None else model.mouth(request.mel, features)[0]


def paint_together(model: MouthModel, requests: Sequence[MouthRequest]) -> list[Array | None]:
    """Run the mouth model once for requests of several sessions: one mouth each, as ``paint``."""
    faced = [request for request in requests if request.picture.features is not None]
    if not faced:
        return [None] * len(requests)
    mel = np.concatenate([request.mel for request in faced])
    names = model.manifest.features
    features = {
        name: np.concatenate([(request.picture.features or {})[name] for request in faced])
        for name in names
    }
    mouths = iter(model.mouth(mel, features))
    return [None if request.picture.features is None else next(mouths) for request in requests]


def drain(pipeline: Pipeline, model: MouthModel) -> Iterator[AvFrame]:
    """Run the mouth model for every frame that is ready."""
    while (request := pipeline.next_request()) is not None:
        yield pipeline.complete(request, paint(model, request))
