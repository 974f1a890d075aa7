"""Speech pushed faster than it is spoken: utterances that wait, resampled as their turn comes.

Bounds: ``MOST_SECONDS`` of sound wait at most; more is refused. Pieces are resampled one at a time,
so pushing costs nothing but the room.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from av import AudioFrame, AudioResampler
from numpy.typing import ArrayLike

from lipstream.audio.resampler import to_pcm
from lipstream.audio.ring import SoundQueue
from lipstream.errors import InputError
from lipstream.lips.phones import LipClasses, Phone
from lipstream.timing import check_rate
from lipstream.types import Pcm

MOST_SECONDS = 300.0
"""Speech that may wait to be spoken; beyond it a push is refused."""
DRY_SECONDS = 3.0
"""Time without more sound after which an utterance that was not ended counts as ended."""
_PIECE_SECONDS = 0.1
"""Longest piece resampled at once."""
_FIRST_WAIT_SECONDS = 0.06
"""Sound gathered before an utterance begins, unless it has ended: it may come in small pieces."""
_MOST_WAIT_SECONDS = 0.3
"""The same after it ran dry in the middle, at most: it doubles each time."""
_LINGER_SECONDS = 0.1
"""Time after which too little gathered begins all the same."""


class StreamResampler:
    """Mono int16 of any rate, block by block, to another rate."""

    def __init__(self, rate: int, out_rate: int) -> None:
        """Raise InputError for a rate that cannot be taken."""
        self.rate = check_rate(rate)
        """Samples a second of what comes in."""
        self._same = rate == out_rate
        self._resampler = AudioResampler(format="s16", layout="mono", rate=out_rate)

    def feed(self, pcm: Pcm) -> Pcm:
        """Return the samples that are complete; a few stay inside until more comes."""
        if len(pcm) == 0 or self._same:
            return pcm
        frame = AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = self.rate
        return self._joined(frame)

    def flush(self) -> Pcm:
        """Return what stayed inside: the sound has ended."""
        return np.zeros(0, np.int16) if self._same else self._joined(None)

    def _joined(self, frame: AudioFrame | None) -> Pcm:
        parts = [part.to_ndarray()[0] for part in self._resampler.resample(frame)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)


@dataclass(frozen=True, slots=True)
class SpeechCue:
    """Something to tell when a sample is heard."""

    sample: int
    """Of the piece it came with, at the piece's rate."""
    event: object
    """What is told."""


@dataclass(frozen=True, slots=True)
class PhoneCue:
    """The event of a cue at which a phone begins: it moves the lips and is told to nobody."""

    classes: LipClasses | None
    seconds: float


def speech_cues(phones: Iterable[Phone], rate: int) -> list[SpeechCue]:
    """Return the cues of phones in a piece at ``rate``."""
    return [
        SpeechCue(one.start, PhoneCue(one.classes, (one.stop - one.start) / rate)) for one in phones
    ]


@dataclass(slots=True, eq=False)
class SpokenUtterance:
    """One thing that is said: from the first push to ``end_of_speech``."""

    name: str | int
    """The pusher's, or a number that was free."""
    generation: int = 0
    """Interruptions before it."""
    cues: deque[SpeechCue] = field(default_factory=deque)
    """Those not yet handed out, at samples of the utterance at the session's rate."""
    pushed: float = 0.0
    """Samples pushed, at the session's rate."""
    taken: int = 0
    """Samples handed out."""
    ended: bool = False
    """Whether nothing more is pushed to it."""


@dataclass(frozen=True, slots=True)
class PlacedSpeech:
    """The part of a piece handed out that belongs to one utterance."""

    utterance: SpokenUtterance
    at: int
    """Its first sample in the piece; counted on in the session once it is placed there."""
    count: int
    """Its samples."""
    first: int
    """Its first sample in the utterance."""


@dataclass(frozen=True, slots=True)
class PlacedCue:
    """A place in a piece handed out at which something is to be told."""

    utterance: SpokenUtterance
    at: int
    """Sample of the piece; of the session once it is placed there."""
    cue: object | None
    """What is to be told; None: the utterance has ended."""


@dataclass(frozen=True, slots=True)
class _Block:
    utterance: SpokenUtterance
    pcm: Pcm | None
    """None: the utterance ends."""
    rate: int = 0


class SpeechInput:
    """Utterances that wait. Used by one thread; the caller says what time it is, in samples."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._names = self._generation = 0
        self._forget()

    def clear(self) -> list[SpokenUtterance]:
        """Forget all that waits, and return the utterances that were not handed out to the end.

        Those to come are a generation on.
        """
        left = self._unfinished()
        self._generation += 1
        self._forget()
        return left

    def _forget(self) -> None:
        self._blocks: deque[_Block] = deque()
        self._ready = SoundQueue()
        self._resampler: StreamResampler | None = None
        self._waiting_seconds = 0.0
        self._open: SpokenUtterance | None = None
        self._spoken: SpokenUtterance | None = None
        self._wait, self._since, self._dry_since = _FIRST_WAIT_SECONDS, 0, 0
        self._flowing = False

    def _unfinished(self) -> list[SpokenUtterance]:
        utterances = [] if self._spoken is None else [self._spoken]
        for block in self._blocks:
            if block.utterance not in utterances:
                utterances.append(block.utterance)
        if self._open is not None and self._open not in utterances:
            utterances.append(self._open)
        return utterances

    @property
    def active(self) -> bool:
        """Whether something is being said or waits to be."""
        return self._spoken is not None or bool(self._blocks)

    @property
    def queued_ms(self) -> float:
        """Speech that waits, milliseconds."""
        return (self._waiting_seconds + len(self._ready) / self._rate) * 1000

    def begin(self, name: str | int | None = None) -> SpokenUtterance:
        """Begin an utterance; the one before, if it is open, ends."""
        self.end()
        self._names += 1
        self._open = SpokenUtterance(self._names if name is None else name, self._generation)
        return self._open

    def push(self, pcm: ArrayLike, rate: int, cues: Sequence[SpeechCue] = ()) -> SpokenUtterance:
        """Add mono sound as ``to_pcm`` takes it, at ``rate``, to the utterance that is open.

        Raises InputError, and takes nothing, for a rate that cannot be used or when more than
        ``MOST_SECONDS`` would wait.
        """
        check_rate(rate)
        samples = to_pcm(pcm)
        seconds = len(samples) / rate
        if self.queued_ms / 1000 + seconds > MOST_SECONDS:
            raise InputError(
                f"{self.queued_ms / 1000 + seconds:.0f} s of speech would wait:"
                f" push the rest when less than {MOST_SECONDS:.0f} s do"
            )
        utterance = self._open or self.begin()
        scale = self._rate / rate
        utterance.cues.extend(
            SpeechCue(round(utterance.pushed + cue.sample * scale), cue.event) for cue in cues
        )
        utterance.pushed += len(samples) * scale
        piece = int(rate * _PIECE_SECONDS)
        for at in range(0, len(samples), piece):
            self._blocks.append(_Block(utterance, samples[at : at + piece].copy(), rate))
        self._waiting_seconds += seconds
        return utterance

    def end(self) -> None:
        """Say that the open utterance is complete; without one nothing happens."""
        if self._open is not None:
            self._open.ended = True
            self._blocks.append(_Block(self._open, None))
            self._open = None

    def take(self, out: Pcm, now: int) -> list[PlacedSpeech | PlacedCue]:
        """Fill ``out``, silence where no speech is due, and return whose it is, in order."""
        out[:] = 0
        if not self._gathered(len(out), now):
            return []
        placed: list[PlacedSpeech | PlacedCue] = []
        at = 0
        while at < len(out) and (len(self._ready) or self._next_block(placed, at)):
            utterance = self._spoken
            if utterance is None or not len(self._ready):
                continue
            count = self._ready.take(out[at : at + min(len(self._ready), len(out) - at)])
            placed.append(PlacedSpeech(utterance, at, count, utterance.taken))
            placed += self._cues(utterance, at, utterance.taken + count)
            utterance.taken += count
            at += count
        if not len(self._ready):  # an end that stands next is told with the last sound
            while self._blocks and self._blocks[0].pcm is None and self._next_block(placed, at):
                pass
        if at < len(out) and self._spoken is not None:
            self._flowing = False
            self._wait, self._dry_since = min(2 * self._wait, _MOST_WAIT_SECONDS), now
        return placed

    def _gathered(self, count: int, now: int) -> bool:
        """Return whether there is enough to begin or to go on."""
        if self._flowing and (len(self._ready) or self._blocks):
            return True
        waiting = self.queued_ms / 1000
        if not self._blocks and not len(self._ready):
            self._since = now
            dry = self._spoken is not None and self._spoken is self._open
            if dry and now - self._dry_since > DRY_SECONDS * self._rate:
                self.end()
            return bool(self._blocks)
        first = self._blocks[0].utterance if self._blocks else self._spoken
        lingered = now - self._since > _LINGER_SECONDS * self._rate
        enough = waiting >= self._wait + count / self._rate or lingered
        self._flowing = enough or (first is not None and first.ended)
        return self._flowing

    def _next_block(self, placed: list[PlacedSpeech | PlacedCue], at: int) -> bool:
        """Make the next block ready; return whether there was one."""
        if not self._blocks:
            return False
        block = self._blocks.popleft()
        if block.utterance is not self._spoken:
            self._spoken = block.utterance
            self._wait = _FIRST_WAIT_SECONDS
        if block.pcm is None:
            return self._finish(block.utterance, placed, at)
        self._waiting_seconds = max(0.0, self._waiting_seconds - len(block.pcm) / block.rate)
        if self._resampler is None or self._resampler.rate != block.rate:
            if self._resampler is not None:
                self._ready.put(self._resampler.flush())
            self._resampler = StreamResampler(block.rate, self._rate)
        self._ready.put(self._resampler.feed(block.pcm))
        return True

    def _finish(
        self, utterance: SpokenUtterance, placed: list[PlacedSpeech | PlacedCue], at: int
    ) -> bool:
        """End an utterance, or bring out what its resampler still holds and end it after that."""
        if self._resampler is not None:
            self._ready.put(self._resampler.flush())
            self._resampler = None
            if len(self._ready):
                self._blocks.appendleft(_Block(utterance, None))
                return True
        placed += [PlacedCue(utterance, at, cue.event) for cue in utterance.cues]
        utterance.cues.clear()
        placed.append(PlacedCue(utterance, at, None))
        self._spoken, self._flowing = None, bool(self._blocks)
        return True

    def _cues(
        self, utterance: SpokenUtterance, at: int, stop: int
    ) -> list[PlacedSpeech | PlacedCue]:
        placed: list[PlacedSpeech | PlacedCue] = []
        while utterance.cues and utterance.cues[0].sample < stop:
            cue = utterance.cues.popleft()
            placed.append(
                PlacedCue(utterance, at + max(0, cue.sample - utterance.taken), cue.event)
            )
        return placed
