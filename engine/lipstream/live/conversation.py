"""One avatar that is spoken through: sound pushed or heard goes in, what is due comes out.

``Conversation`` has no thread, no task and no clock of its own: who owns it calls ``advance`` when
``next_due`` has come and gets, in order, blocks of sound, pictures and events::

    conversation = Conversation(worker, avatar)
    conversation.push(pcm, 24_000)          # any rate, any length, and another rate any time
    conversation.end_of_speech()
    for item in conversation.advance():     # SoundBlock | ShownPicture | ConversationEvent
        ...
    heard_ms = conversation.interrupt()     # silent in 10 ms, lips at rest with the next pictures

``AvatarStream`` is the same for asynchronous code, a frame with its sound at a time::

    async with AvatarStream.open(worker, avatar, sleep=asyncio.sleep) as live:
        live.push(pcm, 24_000)
        live.end_of_speech()
        async for frame in live:            # 25 a second for as long as it is open, idle ones too
            show(frame.image), play(frame.pcm), react(frame.events)

Who speaks: what is pushed (a synthesizer, faster than real time, in utterances) goes before what is
heard (``hear``: a microphone, as it comes); while an utterance lasts, live sound is ignored.
Nobody: silence is fed, the avatar idles, and no network runs.

An interruption forgets what waits, silences what the engine and the schedule hold, and begins a new
*generation*. Pictures go on without a gap and keep their numbers.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from lipstream.audio.jitter_buffer import JitterBuffer, JitterBufferStats
from lipstream.avatar.pack import Avatar
from lipstream.errors import EngineFailed
from lipstream.lips.phones import Phone
from lipstream.live.playout import Playout, PlayoutStats, ShownPicture, SoundBlock
from lipstream.live.session import MOST_LATE_MS
from lipstream.live.speech_input import (
    PhoneCue,
    PlacedCue,
    PlacedSpeech,
    SpeechCue,
    SpeechInput,
    SpokenUtterance,
)
from lipstream.live.worker import Worker
from lipstream.types import AvFrame, Image, Pcm

MAKING_MS = 20.0
"""From the last sound a frame needs to its being due, at first; then it is measured."""
PROGRESS_MS = 200.0
"""How often an utterance tells how far it is."""
GIVE_UP_SECONDS = 10.0
"""Time without a frame after which a conversation ends: sound is fed all the time."""
STALL_SECONDS = 1.5
"""Time without a frame from which it counts as stalled."""
_LONGEST_STEP_SECONDS = 1.0
"""Time between two calls of ``advance`` that is made up for; more is left out of the schedule."""


@dataclass(frozen=True, slots=True)
class ConversationSettings:
    """One conversation's schedule."""

    rate: int = 48_000
    """Samples a second of the sound that comes out, and of live sound that goes in."""
    fps: Fraction = Fraction(25)
    """Frames a second."""
    lead_ms: float = 50.0
    """By how much sound is given out before it is due, its picture with it. Receivers by network
    take longer over sound: a browser holds it 40 to 60 ms for jitter and puts it out 10 to 40 ms
    later, and shows a picture 10 to 20 ms after it has come."""
    least_delay_ms: float = 0.0
    """Least time from sound being fed to its being due, however fast the machine is."""


@dataclass(frozen=True, slots=True)
class ConversationEvent:
    """What became of something that is said. Milliseconds are of the utterance's own sound."""

    kind: Literal["began", "ended", "interrupted", "progress", "cue"]
    utterance: str | int
    """Its name."""
    generation: int
    """Interruptions before it."""
    heard_ms: float
    """How much of it has been heard."""
    queued_ms: float
    """Speech that waits, of all utterances: for back-pressure."""
    cue: object = None
    """What was pushed to be told here, of a cue."""


@dataclass(frozen=True, slots=True)
class ConversationStats:
    """How a conversation does."""

    playout: PlayoutStats
    live: JitterBufferStats
    live_delay_ms: float
    """From live sound arriving to its being due."""
    queued_ms: float
    """Speech that waits."""


Output = SoundBlock | ShownPicture | ConversationEvent


class Conversation:
    """See the module. One thread's (or one event loop's), but for the engine's callback."""

    def __init__(
        self,
        worker: Worker,
        avatar: Avatar,
        settings: ConversationSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open a session of ``worker``; blocks until that is done, its avatar prepared.

        Raises AtCapacity when all of the worker's places are taken, EngineFailed when it is over.
        """
        self.settings = settings or ConversationSettings()
        rate = self.settings.rate
        self._rate, self._clock = rate, clock
        self._arrived: deque[tuple[AvFrame, float]] = deque()
        self._session = worker.open_session(
            avatar,
            rate=rate,
            fps=self.settings.fps,
            on_frame=self._from_engine,
            most_late_ms=MOST_LATE_MS,
        )
        self._playout = Playout(
            self._session.timing,
            delay_ms=self._session.look_ahead_ms + MAKING_MS,
            lead_ms=self.settings.lead_ms,
            least_delay_ms=self.settings.least_delay_ms,
        )
        self._speech, self._live = SpeechInput(rate), JitterBuffer(rate)
        self._piece = rate // 100
        # Pieces end where the frame that looks furthest ahead is complete: it waits for no more.
        timing = self._session.timing
        ahead = [self._session.needed_samples(k) - timing.frame_start(k) for k in range(8)]
        self._next_piece = max(ahead) % self._piece or self._piece
        self._next_needed = self._fed = 0
        self._refused: deque[Pcm] = deque()  # by an engine that is seconds late: fed again
        self._placed: deque[PlacedSpeech | PlacedCue] = deque()  # fed, and not heard yet
        self._hearing: SpokenUtterance | None = None
        self._heard_ms = self._told_ms = 0.0
        self._events: list[ConversationEvent] = []
        self._origin: float | None = None
        self._last_frame_at = self._clock()

    @property
    def generation(self) -> int:
        """Interruptions so far."""
        return self._playout.generation

    @property
    def queued_ms(self) -> float:
        """Speech that waits, milliseconds."""
        return self._speech.queued_ms

    @property
    def speech_active(self) -> bool:
        """Whether something pushed is being said, or waits to be."""
        return self._speech.active or bool(self._placed) or self._hearing is not None

    @property
    def seconds_without_frame(self) -> float:
        """How long ago the engine made a frame."""
        return self._clock() - self._last_frame_at

    @property
    def picture_step(self) -> int:
        """Every how many-th picture is made and sent; sound, events and the schedule stay whole.

        To be set above 1 where there is no time to make or to encode them all.
        """
        return self._playout.picture_step

    @picture_step.setter
    def picture_step(self, step: int) -> None:
        self._playout.picture_step = self._session.picture_step = step

    def begin(self, name: str | int | None = None) -> SpokenUtterance:
        """Begin an utterance, whose events carry ``name``; one that is open ends."""
        return self._speech.begin(name)

    def push(self, pcm: ArrayLike, rate: int, cues: Sequence[SpeechCue] = ()) -> SpokenUtterance:
        """Say mono sound (int16, bytes of it, or floats from -1 to 1) at ``rate``, in its own time.

        Raises InputError, and takes nothing, for a rate that cannot be used or when more than
        ``speech_input.MOST_SECONDS`` would wait.
        """
        return self._speech.push(pcm, rate, cues)

    def end_of_speech(self) -> None:
        """Say that the utterance is complete."""
        self._speech.end()

    def hear(self, pcm: Pcm, pts: int | None = None) -> None:
        """Take live sound as it arrives: (n,) int16 at the settings' rate.

        ``pts`` is the place of its first sample in the sender's count; see ``JitterBuffer.push``.
        """
        self._live.push(pcm, self._now(), pts)

    def change_live_source(self) -> None:
        """Forget the live sound that waits and how it came: another source follows."""
        self._live.reset()

    def interrupt(self) -> float:
        """Forget all that waits and silence what is being said; return how much of it was heard.

        Milliseconds of the utterance being heard; 0 when there was none.
        """
        now = self._now()
        left = self._speech.clear()
        self._live.drop_waiting()
        self._refused = deque(np.zeros_like(pcm) for pcm in self._refused)
        cut = self._playout.interrupt(now)
        self._session.interrupt(cut)
        self._tell(cut)
        fed = [self._hearing] if self._hearing else []
        fed += [placed.utterance for placed in self._placed]
        heard_ms = self._heard_ms if self._hearing else 0.0
        for utterance in dict.fromkeys((*fed, *left)):
            self._event("interrupted", utterance, heard_ms if utterance is self._hearing else 0.0)
        self._placed.clear()
        self._hearing = None
        return heard_ms

    def advance(self) -> list[Output]:
        """Feed what has come and return everything that is due, in order.

        Raises EngineFailed when the engine has ended the session, or makes no frames for it.
        """
        if self._session.closed:
            raise EngineFailed("a picture could not be made by a fault of the server: connect anew")
        if self.seconds_without_frame > GIVE_UP_SECONDS:
            raise EngineFailed("no picture was made for ten seconds: connect anew later")
        now = self._now()
        while self._arrived:
            frame, at = self._arrived.popleft()
            self._playout.arrive(frame, self._sample_at(at))
        self._feed(now)
        played: list[Output] = [
            self._with_spoken(item) if isinstance(item, SoundBlock) else item
            for item in self._playout.play(now)
        ]
        self._tell(self._playout.heard(now))
        played += self._events
        self._events = []
        return played

    @property
    def next_due(self) -> float:
        """Clock reading at which ``advance`` is to be called again."""
        due = min(self._next_feed, self._playout.next_due)
        return (0.0 if self._origin is None else self._origin) + due / self._rate

    @property
    def seconds_to_next(self) -> float:
        """Seconds until ``advance`` is to be called again, 0 or more."""
        return max(0.0, self.next_due - self._clock())

    @property
    def _next_feed(self) -> int:
        """Output sample at which a piece is to be fed: while nobody speaks, one a frame needs."""
        if self.speech_active or self._live.active:
            return self._fed + self._next_piece
        while (needed := self._session.needed_samples(self._next_needed)) <= self._fed:
            self._next_needed += 1
        pieces = -(-(needed - self._fed - self._next_piece) // self._piece)
        return self._fed + self._next_piece + max(0, pieces) * self._piece

    def seconds_since(self, sample: int) -> float:
        """Return how long ago an output sample fell due."""
        return (self._sample_at(self._clock()) - sample) / self._rate

    def stats(self) -> ConversationStats:
        """Return how it does."""
        playout, live = self._playout.stats(), self._live.stats()
        delay_ms = playout.delay_ms + live.waiting * 1000 / self._rate
        return ConversationStats(playout, live, delay_ms, self._speech.queued_ms)

    def close(self) -> None:
        """End the engine's session; what waits is forgotten. Closing twice is fine."""
        self._speech.clear()
        self._session.close()

    def _now(self) -> int:
        """Return the output sample that is due now; the first call starts the schedule."""
        now = self._clock()
        if self._origin is None:
            self._origin = now
        late = now - self._origin - self._fed / self._rate
        if late > _LONGEST_STEP_SECONDS:  # the machine slept: a second of it is made up for
            self._origin += late - _LONGEST_STEP_SECONDS
        return self._sample_at(now)

    def _sample_at(self, at: float) -> int:
        return 0 if self._origin is None else int((at - self._origin) * self._rate)

    def _from_engine(self, frame: AvFrame) -> None:
        """Keep a frame until the next ``advance``. Called on an engine's thread."""
        self._last_frame_at = self._clock()
        self._arrived.append((frame, self._last_frame_at))

    def _feed(self, now: int) -> None:
        """Feed the engine and the schedule the pieces whose time has come."""
        while self._fed + self._next_piece <= now:
            pcm = np.empty(self._next_piece, np.int16)
            if self.speech_active and not self._speech.active:
                pcm[:] = 0  # the last of it is on its way: live sound would tread on it
            elif self._speech.active:
                for placed in self._speech.take(pcm, self._fed):
                    self._place(replace(placed, at=placed.at + self._fed))
            else:
                self._live.take(pcm, self._fed)
            self._refused.append(pcm)
            self._playout.hear(pcm)
            self._fed += len(pcm)
            self._next_piece = self._piece
        while self._refused and self._session.feed(self._refused[0]):
            self._refused.popleft()

    def _place(self, placed: PlacedSpeech | PlacedCue) -> None:
        """Keep what is to be told until it is heard; the engine is told of phones at once."""
        if isinstance(placed, PlacedCue) and isinstance(placed.cue, PhoneCue):
            stop = placed.at + round(placed.cue.seconds * self._rate)
            self._session.know([Phone(placed.cue.classes, placed.at, stop)])
        else:
            self._placed.append(placed)

    def _with_spoken(self, block: SoundBlock) -> SoundBlock:
        """Return a block that says how much of it was pushed."""
        start, stop = block.fed.start, block.fed.stop
        spoken = sum(
            max(0, min(stop, placed.at + placed.count) - max(start, placed.at))
            for placed in self._placed
            if isinstance(placed, PlacedSpeech)
        )
        return replace(block, spoken=spoken) if spoken else block

    def _tell(self, heard: int) -> None:
        """Make events of what has been heard up to a session sample."""
        while self._placed and self._placed[0].at <= heard:
            placed = self._placed[0]
            if isinstance(placed, PlacedCue):
                self._placed.popleft()
                self._tell_mark(placed)
                continue
            self._begin_hearing(placed.utterance)
            until = min(heard - placed.at, placed.count)
            self._heard_ms = (placed.first + until) * 1000 / self._rate
            if until < placed.count:
                break
            self._placed.popleft()
        if self._hearing is not None and self._heard_ms - self._told_ms >= PROGRESS_MS:
            self._told_ms = self._heard_ms
            self._event("progress", self._hearing, self._heard_ms)

    def _begin_hearing(self, utterance: SpokenUtterance) -> None:
        if self._hearing is not utterance:
            self._hearing, self._heard_ms, self._told_ms = utterance, 0.0, 0.0
            self._event("began", utterance, 0.0)

    def _tell_mark(self, mark: PlacedCue) -> None:
        self._begin_hearing(mark.utterance)  # one without sound begins with its end
        if mark.cue is not None:
            self._event("cue", mark.utterance, self._heard_ms, mark.cue)
        else:
            self._event("ended", mark.utterance, self._heard_ms)
            self._hearing = None

    def _event(
        self,
        kind: Literal["began", "ended", "interrupted", "progress", "cue"],
        utterance: SpokenUtterance,
        heard_ms: float,
        cue: object = None,
    ) -> None:
        queued_ms = round(self._speech.queued_ms, 1)
        self._events.append(
            ConversationEvent(
                kind, utterance.name, utterance.generation, round(heard_ms, 1), queued_ms, cue
            )
        )


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A picture, the sound heard from it to the next, and what happened meanwhile."""

    picture: ShownPicture
    pcm: Pcm
    """(n,) int16 at the conversation's rate, mostly 40 ms; all frames' together are the sound that
    is heard, without a gap."""
    events: tuple[ConversationEvent, ...]
    """What became of what is said, since the frame before."""
    speaking: bool
    """Whether something pushed or heard is being said."""

    @property
    def image(self) -> Image:
        """(H, W, 3) uint8 BGR."""
        return self.picture.frame.image

    @property
    def index(self) -> int:
        """The picture's frame number: it may repeat when the engine is late."""
        return self.picture.frame.index

    @property
    def generation(self) -> int:
        """Interruptions before it."""
        return self.picture.frame.generation


class AvatarStream:
    """A conversation for asynchronous code: iterate to have it run. One event loop's.

    It knows no loop: it waits by ``sleep``, ``asyncio.sleep`` or another library's. ``push``,
    ``end_of_speech``, ``hear`` and ``interrupt`` are those of ``Conversation``, and take effect at
    once. Frames come when they are due; who takes them too slowly gets them late, all of them.
    """

    def __init__(
        self, conversation: Conversation, sleep: Callable[[float], Awaitable[object]]
    ) -> None:
        self.conversation, self._sleep = conversation, sleep
        self.push = conversation.push
        self.begin = conversation.begin
        self.end_of_speech = conversation.end_of_speech
        self.hear = conversation.hear
        self.interrupt = conversation.interrupt
        self._waiting: deque[Output] = deque()

    @classmethod
    def open(
        cls,
        worker: Worker,
        avatar: Avatar,
        settings: ConversationSettings | None = None,
        *,
        sleep: Callable[[float], Awaitable[object]],
    ) -> Self:
        """Open a conversation; blocks while the avatar is prepared (``Worker.prepare`` before).

        Sound and picture come together: a receiver that pays for its sound later is not assumed.
        """
        together = settings or ConversationSettings(lead_ms=0.0)
        return cls(Conversation(worker, avatar, together), sleep)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.conversation.close()

    async def __aiter__(self) -> AsyncIterator[LiveFrame]:
        """Yield frames as they fall due, until closed. Raises EngineFailed."""
        shown: ShownPicture | None = None
        sound: list[Pcm] = []
        events: list[ConversationEvent] = []
        while True:
            for item in self.conversation.advance():
                if isinstance(item, SoundBlock):
                    sound.append(item.pcm)
                elif isinstance(item, ConversationEvent):
                    events.append(item)
                else:
                    if shown is not None:
                        yield self._frame(shown, sound, events)
                        sound, events = [], []
                    shown = item
            await self._sleep(self.conversation.seconds_to_next)

    def _frame(
        self, shown: ShownPicture, sound: list[Pcm], events: list[ConversationEvent]
    ) -> LiveFrame:
        pcm = np.concatenate(sound) if sound else np.zeros(0, np.int16)
        speaking = self.conversation.speech_active or shown.frame.openness > 0.0
        return LiveFrame(shown, pcm, tuple(events), speaking)
