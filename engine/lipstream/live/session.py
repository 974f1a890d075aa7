"""One session of the engine: sound handed over from anywhere, frames made on the engine's threads.

Sound waits in an inbox until a frame is complete; then the session stands in the worker's line and
one of the engine's threads takes what the frame needs, all at once, and makes it. So a block that
completes no frame wakes nobody, and a session is served by one thread at a time.
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from lipstream.audio.resampler import to_pcm
from lipstream.inference.model import MouthModel
from lipstream.lips.phones import Phone
from lipstream.live.pipeline import (
    LARGEST_PIECE_SECONDS,
    MouthRequest,
    Pipeline,
    paint,
    paint_together,
    pieces,
)
from lipstream.timing import Timing
from lipstream.types import Array, AvFrame, Pcm, Planes

INBOX_SECONDS = 4.0
"""Sound a session may have waiting; beyond it ``feed`` refuses the block and counts it."""
MOST_LATE_MS = 250.0
"""For live sessions: later frames are skipped, or a starved mouth falls ever further behind."""
_SMOOTHING = 0.05


class EngineThread(Protocol):
    """What a session needs of the worker that owns it."""

    clock: Callable[[], float]

    def post(self, command: Callable[[], None]) -> None:
        """Have a command run on the engine thread, in order."""
        ...

    def enqueue(self, session: "SessionHandle") -> None:
        """Have a session served that stands in no line and is not being served."""
        ...

    def remove(self, session: "SessionHandle") -> None:
        """Drop a closed session. Engine thread."""
        ...


@dataclass(frozen=True, slots=True)
class SessionStats:
    """Counters of one session."""

    frames: int
    """Frames made."""
    waiting_ms: float
    """Sound handed over and not yet taken by the engine."""
    refused_samples: int
    """Samples refused because too much was waiting."""
    making_ms: float
    """Time the engine spends on one frame, smoothed."""
    skipped_frames: int
    """Frames not made because they were too late."""


class SessionHandle:
    """One session of a worker. Its public methods may be called on any thread."""

    def __init__(
        self,
        worker: EngineThread,
        pipeline: Pipeline,
        on_frame: Callable[[AvFrame], None],
        most_late_ms: float | None,
    ) -> None:
        self.picture_step = 1
        """Every how many-th frame is made: more than 1 where there is no time for all."""
        self._worker, self._pipeline, self._on_frame = worker, pipeline, on_frame
        self._most_late_ms = most_late_ms
        self._lock = threading.Lock()  # guards all down to the empty line
        self._waiting = self._refused = self._frames = self._skipped = 0
        self._making_seconds = 0.0
        self._closed = False
        self._inbox: deque[Pcm | Callable[[], None]] = deque()
        self._orders = 0  # what is to be called in the inbox
        self._missing = pipeline.missing_samples
        self._served = False  # stands in the worker's line, or a thread is at it

        self._request: MouthRequest | None = None  # of the thread that serves, as is _pipeline

    @property
    def rate(self) -> int:
        """Samples a second of the session's sound."""
        return self._pipeline.timing.rate

    def needed_samples(self, index: int) -> int:
        """Return the samples to be fed, since the start, before a frame is complete."""
        return self._pipeline.needed_samples(index)

    @property
    def timing(self) -> Timing:
        """Which samples belong to which frame."""
        return self._pipeline.timing

    @property
    def look_ahead_ms(self) -> float:
        """Sound the model needs past the start of a frame, milliseconds."""
        return self._pipeline.timing.look_ahead_ms

    @property
    def closed(self) -> bool:
        """Whether the session has ended, by ``close`` or by a failure that was logged."""
        return self._closed

    def feed(self, sound: ArrayLike) -> bool:
        """Hand over mono sound as ``to_pcm`` takes it; it is copied. False when it was refused."""
        pcm = to_pcm(sound)
        copy = pcm.copy()
        with self._lock:
            if self._closed or self._waiting + len(pcm) > INBOX_SECONDS * self.rate:
                self._refused += len(pcm)
                return False
            self._waiting += len(pcm)
            self._inbox.extend(pieces(copy, self.rate))
        self._call_for_service()
        return True

    def know(self, phones: Sequence[Phone]) -> None:
        """Hand over phones known beforehand, in session samples, before the sound they are in."""
        with self._lock:
            self._inbox.append(lambda: self._pipeline.know(phones))
            self._orders += 1
        self._call_for_service()

    def flush(self) -> None:
        """End the sound: the frames that cover it to the last sample follow."""
        with self._lock:
            self._inbox.append(self._pipeline.flush)
            self._orders += 1
        self._call_for_service()

    def reset(self) -> None:
        """Forget the sound that is waiting or taken; frames count from 0 again.

        A frame that is being made may still arrive.
        """
        with self._lock:
            self._inbox.clear()
            self._waiting = 0
            self._inbox.append(self._pipeline.reset)
            self._orders = 1
        self._call_for_service()

    def interrupt(self, start_sample: int) -> None:
        """Silence the sound handed over from a session sample on.

        Frames whose making begins after it carry the next generation; numbers go on, and every
        frame is made.
        """
        with self._lock:
            self._inbox.append(lambda: self._pipeline.interrupt(start_sample))
            self._orders += 1
        self._call_for_service()

    def close(self) -> None:
        """End the session. A frame that is being made may still arrive."""
        self._worker.post(lambda: self._worker.remove(self))
        with self._lock:
            self._closed = True

    def stats(self) -> SessionStats:
        """Return the counters."""
        with self._lock:
            waiting_ms = self._pipeline.timing.milliseconds(self._waiting)
            making_ms = self._making_seconds * 1000
            return SessionStats(self._frames, waiting_ms, self._refused, making_ms, self._skipped)

    def _call_for_service(self) -> None:
        with self._lock:
            if self._served or not self._has_work():
                return
            self._served = True
        self._worker.enqueue(self)

    def _has_work(self) -> bool:
        """Return whether there is something to do but wait for sound. Under the lock."""
        if self._closed:
            return False
        fed_past_the_end = self._waiting > 0 and math.isinf(self._missing)
        return self._orders > 0 or self._waiting >= self._missing or fed_past_the_end

    def release(self) -> bool:
        """End a turn; return whether another one is due. The thread that serves."""
        missing = self._pipeline.missing_samples
        with self._lock:
            self._missing = missing
            self._served = self._has_work()
            return self._served

    def advance(self) -> bool:
        """Take sound until a frame is ready; return whether one is. The thread that serves."""
        if self._closed:
            return False
        while self._request is None:
            request = self._pipeline.next_request()
            if request is None:
                if not self._take():
                    return False
            elif request.index % self.picture_step:
                self._pipeline.skip(request)
            elif self._too_late():
                self._pipeline.skip(request)
                self._skipped += 1
            else:
                self._request = request
        return True

    def _too_late(self) -> bool:
        if self._most_late_ms is None:
            return False
        late = self._waiting + self._pipeline.backlog_samples
        return self._pipeline.timing.milliseconds(late) > self._most_late_ms

    def _take(self) -> bool:
        """Do the next order, or give the pipeline what a frame needs; return whether there was."""
        with self._lock:
            if not self._inbox:
                return False
            item = self._inbox.popleft()
            if callable(item):
                self._orders -= 1
            else:
                item = self._with_those_after(item)
                self._waiting -= len(item)
        if callable(item):
            item()
        else:
            self._pipeline.feed(item)
        return True

    def _with_those_after(self, first: Pcm) -> Pcm:
        """Return a block and those behind it in the inbox, as far as the frame needs them.

        What is done once for two blocks costs half. Under the lock.
        """
        most = min(self._pipeline.missing_samples, LARGEST_PIECE_SECONDS * self.rate)
        blocks, length = [first], len(first)
        while length < most and self._inbox:
            following = self._inbox[0]
            if callable(following) or length + len(following) > LARGEST_PIECE_SECONDS * self.rate:
                break
            blocks.append(following)
            length += len(following)
            self._inbox.popleft()
        return first if len(blocks) == 1 else np.concatenate(blocks)

    @property
    def request(self) -> MouthRequest:
        """What the frame that ``advance`` found ready needs. The thread that serves."""
        assert self._request is not None, "advance() said a frame is ready"
        return self._request

    def make_frame(self, model: MouthModel) -> None:
        """Make the frame that ``advance`` found ready and hand it over. The thread that serves."""
        begun = self._worker.clock()
        if self.request.picture.on_gpu:
            self.finish_frame(paint_together(model, [self.request])[0], begun)
        else:
            self.finish_frame(paint(model, self.request), begun)

    def finish_frame(self, mouth: Array | Planes | None, begun: float) -> None:
        """Put the mouth painted for ``request`` into its picture and hand it over.

        ``begun`` is the worker's clock when painting began. The thread that serves.
        """
        frame = self._pipeline.complete(self.request, mouth)
        self._request = None
        with self._lock:
            self._frames += 1
            spent = self._worker.clock() - begun
            self._making_seconds += _SMOOTHING * (spent - self._making_seconds)
        if not self._closed:
            self._on_frame(frame)
