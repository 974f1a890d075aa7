"""One session: sound in, pictures out. No thread, no clock, no file.

    pcm -> ring (session rate) ------------------------------> the frame's own samples
        -> resampler -> ring (16 kHz) -> mel window -> mouth -> compositor -> AvFrame

A frame is ready when the rings hold every sample that its mel window is a function of, and its own.
Who drives the pipeline runs the mouth model between ``next_request`` and ``complete``:
``lipsync.py`` in a loop, ``worker.py`` for many sessions on the engine's threads.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from lipstream.audio.mel import MelWindow
from lipstream.audio.resampler import Resampler, to_pcm
from lipstream.audio.ring import RingBuffer
from lipstream.errors import InputError
from lipstream.inference.backends import BankRow
from lipstream.inference.model import MouthModel
from lipstream.lips.decoder import NEWEST_COLUMNS
from lipstream.lips.phones import COLUMNS_A_SECOND, Phone, class_likelihoods
from lipstream.lips.shape import REST, LipFrame
from lipstream.live.compositor import LipCompositor, MouthCompositor, Target, pasted_patch
from lipstream.live.frame_source import FrameSource, SourceFrame
from lipstream.mouth.compositor import ShapeTarget
from lipstream.timing import MODEL_RATE, Span, Timing
from lipstream.types import NOWHERE, Array, AvFrame, Float32, Image, Patch, Pcm, Planes

_RING_SECONDS = 2
LIPS_LATE_MS = 10
"""A frame's lips stand this long after its start."""
LARGEST_PIECE_SECONDS = 0.25
"""Sound is taken in pieces no longer than this, so that a ring never overruns."""
_GATE_BEFORE, _GATE_AFTER = MODEL_RATE * 40 // 1000, MODEL_RATE * 120 // 1000
"""The gate hears from 40 ms before a frame to 120 ms after its start: lips open before sound."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    """When the silence gate opens and closes."""

    open_dbfs: float = -52.0
    """Level above which it opens, decibels below full scale."""
    close_dbfs: float = -58.0
    """Level below which it starts to close: the gap between the two is the hysteresis."""
    hold_frames: int = 4
    """Frames below the closing level before it closes."""
    open_step: float = 0.5
    """Share by which it opens in a frame."""
    close_step: float = 0.2
    """Share by which it closes in a frame."""


class SilenceGate:
    """Lets the mouth rest: closed in silence, open a little before speech begins.

    It follows the level of the sound frame by frame.
    """

    def __init__(self, settings: GateSettings | None = None) -> None:
        self._settings = settings or GateSettings()
        self.reset()

    def reset(self) -> None:
        """Close the gate."""
        self._open = False
        self._quiet_frames = 0
        self._openness = 0.0

    def step(self, samples: Float32) -> float:
        """Take the (n,) float32 sound round a frame, return its openness from 0.0 to 1.0."""
        settings, level = self._settings, level_dbfs(samples)
        self._quiet_frames = 0 if level > settings.close_dbfs else self._quiet_frames + 1
        if level > settings.open_dbfs:
            self._open = True
        elif self._quiet_frames > settings.hold_frames:
            self._open = False
        step = settings.open_step if self._open else -settings.close_step
        self._openness = round(min(1.0, max(0.0, self._openness + step)), 6)
        return self._openness


def level_dbfs(samples: Float32) -> float:
    """Return the root-mean-square level of samples in -1..1, in dB below full scale."""
    power = float(np.dot(samples, samples)) / len(samples) if len(samples) else 0.0
    return 10.0 * math.log10(max(power, 1e-20))


@dataclass(frozen=True, slots=True)
class MouthRequest:
    """What the mouth model needs for one frame."""

    index: int
    """Frame number."""
    mel: Float32 | None
    """(1, 1, 80, columns) float32; None where the silence gate is shut: no network needs to run."""
    picture: SourceFrame
    """What the mouth goes onto."""
    openness: float
    """Silence gate, 0.0 to 1.0; always 1.0 where pictures have no mouth at rest."""


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
        self._phones: deque[Phone] = deque()
        self.reset()

    def reset(self) -> None:
        """Forget all sound: the next sample is number 0, the next frame is frame 0."""
        self._resampler.reset()
        self._sound.clear()
        self._model_sound.clear()
        self._mel.reset()
        self._gate.reset()
        self._compositor.reset()
        self._phones.clear()
        self._next = 0
        self._request: MouthRequest | None = None
        self._frames: int | None = None
        self.generation = 0
        """Interruptions since the sound began."""

    def interrupt(self, start_sample: int) -> None:
        """Silence what was fed from a session sample on; frames from now on are a generation on.

        Their mouths rest: the model hears silence in place of all the sound so far.
        """
        self.generation += 1
        self._sound.silence_from(start_sample)
        self._model_sound.silence_from(0)
        self._resampler.silence()
        self._mel.reset()
        self._gate.reset()
        self._compositor.reset()
        self._phones.clear()
        self._request = None

    def feed(self, pcm: Pcm) -> None:
        """Take (n,) int16 at the session's rate, a piece of ``pieces``. Drain the frames after."""
        if self._frames is not None:
            raise InputError("this sound has ended: call reset() before feeding the next one")
        self._sound.append(pcm)
        self._model_sound.append(self._resampler.feed(pcm))

    def know(self, phones: Iterable[Phone]) -> None:
        """Take phones that are known beforehand, in session samples, in order of time.

        A model of shapes closes, tucks and rounds lips by them in place of what it hears, which
        decides where none is known. A frame counts those taken before it is completed.
        """
        self._phones.extend(phones)

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
        return self.needed_samples(self._next) - self._sound.stop

    def needed_samples(self, index: int) -> int:
        """Return the session samples, since the start, that complete a frame. Any thread."""
        heard = self.timing.frame_span(index).stop
        return max(heard, self._resampler.needed(self.timing.mel_span(index).stop))

    def next_request(self) -> MouthRequest | None:
        """Return what the next frame needs, or None when its sound is not all there yet."""
        if self._request is not None:
            return self._request
        if self.missing_samples > 0:
            return None
        if self._frames is not None:
            missing = self.timing.mel_span(self._next).stop - self._model_sound.stop
            self._model_sound.append(np.zeros(max(0, missing), np.float32))
        gate = self._gate.step(self._around(self._next))
        openness = gate if self._source.rests else 1.0
        mel = None
        if openness > 0.0:
            first = self.timing.first_column(self._next)
            mel = self._mel.read(first, self._model_sound)[None, None]
        else:
            self._compositor.reset()
        picture = self._source.picture(self._next, self.timing.fps)
        self._request = MouthRequest(self._next, mel, picture, openness)
        return self._request

    def complete(self, request: MouthRequest, mouth: Array | Planes | None) -> AvFrame:
        """Turn what the model says of ``request`` (``MouthModel.mouth``) into the next frame.

        ``mouth`` is None where the request's picture has no face, or is silent; planes, copied, are
        what a GPU pasted (``MouthModel.paste_rows``).
        """
        assert request.index == self._next, "requests are completed in order"
        lips = self.lips(mouth)
        picture = self._finished_picture(request, mouth, lips)
        hears = isinstance(self._compositor, LipCompositor)
        stand = (lips or REST).scaled(request.openness) if hears else None
        span = self.timing.frame_span(request.index)
        heard = Span(span.start, min(span.stop, self._sound.stop))
        self._next += 1
        self._request = None
        return AvFrame(
            request.index,
            picture,
            self._sound.read(heard),
            span.start,
            request.openness,
            self.generation,
            None if stand is None else stand.measures,
            0.0 if stand is None else stand.tongue_out,
        )

    def _finished_picture(
        self, request: MouthRequest, mouth: Array | Planes | None, lips: LipFrame | None
    ) -> Image | Patch:
        target = request.picture.target
        if target is None:
            return request.picture.image.copy()
        if mouth is None:
            return Patch(target.still, NOWHERE, target.image[NOWHERE])
        if isinstance(mouth, Planes):
            assert isinstance(target, Target), "a model of shapes pastes nothing on a GPU"
            return pasted_patch(target, mouth)
        if (
            lips is not None
            and isinstance(self._compositor, LipCompositor)
            and isinstance(target, ShapeTarget)
        ):
            shapes = self._compositor.shapes
            return shapes.patch(target, lips, request.openness)
        return self._compositor.patch(target, mouth, request.openness)  # pyright: ignore[reportArgumentType]

    def lips(self, mouth: Array | Planes | None) -> LipFrame | None:
        """Return the lips that a model of shapes says, for frames that are composed elsewhere."""
        if not isinstance(mouth, np.ndarray) or not isinstance(self._compositor, LipCompositor):
            return None
        return self._compositor.lips(mouth, self._known())

    def _known(self) -> Float32 | None:
        """Return what phones say of the next frame's newest columns; None where none is known."""
        start = self.timing.frame_span(self._next).start - self.timing.rate
        while self._phones and self._phones[0].stop < start:
            self._phones.popleft()
        if not self._phones:
            return None
        fps = self.timing.fps
        at = self._next / fps + Fraction(LIPS_LATE_MS, 1000)
        first = math.floor(at * COLUMNS_A_SECOND) + 1 - NEWEST_COLUMNS
        return class_likelihoods(self._phones, self.timing.rate, first, NEWEST_COLUMNS)

    def skip(self, request: MouthRequest) -> None:
        """Go past the next frame without making it."""
        assert request.index == self._next, "requests are completed in order"
        self._next += 1
        self._request = None

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
    mel, face = request.mel, request.picture.face
    return None if mel is None or face is None else model.paint_rows([mel], [face])[0]


def paint_together(
    model: MouthModel, requests: Sequence[MouthRequest]
) -> list[Array | Planes | None]:
    """Run the mouth model once for requests of several sessions: one mouth each, as ``paint``.

    Where the picture is on a GPU that pastes, planes of it, reused by the next call as well; where
    some are and others are not, the model is run for each sort.
    """
    made: list[Array | Planes | None] = [None] * len(requests)
    for on_gpu in (False, True):
        mels: list[Float32] = []
        faces: list[BankRow] = []
        places: list[int] = []
        for place, request in enumerate(requests):
            mel, face = request.mel, request.picture.face
            if mel is not None and face is not None and request.picture.on_gpu == on_gpu:
                places.append(place)
                mels.append(mel)
                faces.append(face)
        if not mels:
            continue
        openness = [requests[place].openness for place in places]
        if on_gpu:
            mouths: Sequence[Array | Planes] = model.paste_rows(mels, faces, openness)
        else:
            painted = model.paint_rows(mels, faces)
            mouths = list(painted if len(mels) == len(requests) else painted.copy())
        for place, mouth in zip(places, mouths, strict=True):
            made[place] = mouth
    return made


def drain(pipeline: Pipeline, model: MouthModel) -> Iterator[AvFrame]:
    """Run the mouth model for every frame that is ready."""
    while (request := pipeline.next_request()) is not None:
        yield pipeline.complete(request, paint(model, request))
