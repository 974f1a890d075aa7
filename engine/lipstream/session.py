"""One session of the engine thread: sound handed over from anywhere, frames made on that thread."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lipstream.audio import check_pcm
from lipstream.model import MouthModel
from lipstream.pipeline import MouthRequest, Pipeline, paint, pieces
from lipstream.types import AvFrame, Pcm

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
        self._worker, self._pipeline, self._on_frame = worker, pipeline, on_frame
        self._most_late_ms = most_late_ms
        self._lock = threading.Lock()  # guards the counters and _closed
        self._waiting = self._refused = self._frames = self._skipped = 0
        self._making_seconds = 0.0
        self._closed = False
        self._inbox: deque[Pcm | Callable[[], None]] = deque()  # engine thread only, as is _request
        self._request: MouthRequest | None = None
        self._ready_since = 0.0

    @property
    def rate(self) -> int:
        """Samples a second of the session's sound."""
        return self._pipeline.timing.rate

    @property
    def look_ahead_ms(self) -> float:
        """Sound the model needs past the start of a frame, milliseconds."""
        return self._pipeline.timing.look_ahead_ms

    @property
    def closed(self) -> bool:
        """Whether the session has ended, by ``close`` or by a failure that was logged."""
        return self._closed

    def feed(self, pcm: Pcm) -> bool:
        """Hand over (n,) int16 mono, which is copied. Returns False when it was refused."""
        check_pcm(pcm)
        with self._lock:
            if self._closed or self._waiting + len(pcm) > INBOX_SECONDS * self.rate:
                self._refused += len(pcm)
                return False
            self._waiting += len(pcm)
        copy = pcm.copy()
        self._worker.post(lambda: self._inbox.extend(pieces(copy, self.rate)))
        return True

    def flush(self) -> None:
        """End the sound: the frames that cover it to the last sample follow."""
        self._worker.post(lambda: self._inbox.append(self._pipeline.flush))

    def reset(self) -> None:
        """Forget the sound that is waiting or taken; frames count from 0 again."""
        self._worker.post(self._forget_sound)

    def close(self) -> None:
        """End the session. A frame that is being made may still arrive."""
        with self._lock:
            self._closed = True
        self._worker.post(lambda: self._worker.remove(self))

    def stats(self) -> SessionStats:
        """Return the counters."""
        with self._lock:
            waiting_ms = self._pipeline.timing.milliseconds(self._waiting)
            making_ms = self._making_seconds * 1000
            return SessionStats(self._frames, waiting_ms, self._refused, making_ms, self._skipped)

    def _forget_sound(self) -> None:
        self._inbox.clear()
        with self._lock:
            self._waiting = 0
        self._request = None
        self._pipeline.reset()

    def advance(self, now: float) -> float | None:
        """Take sound until a frame is ready; return since when it is, or None. Engine thread."""
        while self._request is None:
            request = self._pipeline.next_request()
            if request is None:
                if not self._inbox:
                    return None
                self._take(self._inbox.popleft())
            elif self._too_late():
                self._pipeline.skip(request)
                self._skipped += 1
            else:
                self._request, self._ready_since = request, now
        return self._ready_since

    def _too_late(self) -> bool:
        if self._most_late_ms is None:
            return False
        late = self._waiting + self._pipeline.backlog_samples
        return self._pipeline.timing.milliseconds(late) > self._most_late_ms

    def _take(self, item: Pcm | Callable[[], None]) -> None:
        if callable(item):
            item()
            return
        with self._lock:
            self._waiting -= len(item)
        self._pipeline.feed(item)

    @property
    def request(self) -> MouthRequest:
        """What the frame that ``advance`` found ready needs. Engine thread."""
        assert self._request is not None, "advance() said a frame is ready"
        return self._request

    def make_frame(self, model: MouthModel) -> None:
        """Make the frame that ``advance`` found ready and hand it over. Engine thread."""
        begun = self._worker.clock()
        self.finish_frame(paint(model, self.request), begun)

    def finish_frame(self, mouth: NDArray[np.uint8] | None, begun: float) -> None:
        """Put the mouth painted for ``request`` into its picture and hand it over. Engine thread.

        ``begun`` is the worker's clock when painting began.
        """
        frame = self._pipeline.complete(self.request, mouth)
        self._request = None
        with self._lock:
            self._frames += 1
            spent = self._worker.clock() - begun
            self._making_seconds += _SMOOTHING * (spent - self._making_seconds)
        if not self._closed:
            self._on_frame(frame)
