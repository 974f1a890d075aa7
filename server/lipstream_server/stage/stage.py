"""A stage: one avatar, one conversation, any number of sources and viewers.

The floor: what is pushed or typed goes before live sound; of the live sources the newest has the
floor, and when it goes the one before. Everybody is told who has it. A stage knows nothing of
WebRTC or WebSockets: sinks take what falls due, members are told events.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from lipstream import Avatar, Worker
from lipstream.errors import EngineFailed, InputError, LipstreamError
from lipstream.lips.shape import LipFrame, named_units
from lipstream.live.conversation import STALL_SECONDS, Conversation, ConversationEvent
from lipstream.live.playout import ShownPicture, SoundBlock
from lipstream.live.speech_input import SpokenUtterance
from lipstream.speech import SpeechSettings
from lipstream.types import Pcm
from lipstream_server.stage.messages import (
    SpeakText,
    StageState,
    Stats,
    error_event,
    face_event,
    floor_event,
    stage_event,
    state_event,
    stats_event,
    utterance_event,
)
from lipstream_server.stage.text_to_speech import TextToSpeechQueue

log = logging.getLogger(__name__)

RATE = 48_000
"""Samples a second of every stage: what Opus carries."""
SPEAKING = 0.5
"""Openness from which the avatar counts as speaking."""
REPORT_SECONDS = 1.0
"""How often members are told the statistics."""
_FAULT = "the stage ended by a fault of the server: connect anew"


class Sink(Protocol):
    """Something that takes what a stage shows: encoders, a recorder, a virtual camera.

    Called on the event loop as things fall due; it must not block.
    """

    def on_media(self, item: SoundBlock | ShownPicture) -> None:
        """Take the next block of sound, or picture."""
        ...

    @property
    def lost(self) -> int:
        """Pictures it had no time for."""
        ...


class Audience(Protocol):
    """Somebody who takes part in a stage: ``member.Member`` is one."""

    name: str
    wants_face: bool

    def tell(self, event: str) -> None:
        """Take an event, JSON text."""
        ...

    def interrupted(self) -> None:
        """Take note that the utterance being pushed is not said further."""
        ...

    def stage_ended(self, error: LipstreamError | None) -> None:
        """Take note that the stage is no more."""
        ...


@dataclass(frozen=True, slots=True)
class Floor:
    """Who is heard."""

    kind: Literal["speech", "text", "live", "nobody"]
    name: str = ""
    """Of the member who pushes, or of the live source."""


NOBODY = Floor("nobody")


class Source:
    """Live sound that goes to a stage: a microphone, a WHIP client. The event loop's."""

    def __init__(self, stage: "Stage", name: str) -> None:
        self.name = name
        self._stage = stage

    def hear(self, pcm: Pcm, pts: int | None = None) -> None:
        """Take (n,) int16 mono at 48 kHz the moment it is decoded, in order or not.

        ``pts`` is the place of its first sample in the sender's count, at 48 kHz; holes and late
        blocks are the stage's business. Without the floor it is ignored.
        """
        self._stage.hear(self, pcm, pts)

    def close(self) -> None:
        """Leave the floor to others. Closing twice is fine."""
        self._stage.close_source(self)


class Stage:
    """See the module. The event loop's."""

    def __init__(
        self,
        name: str,
        conversation: Conversation,
        avatar: str,
        speech: SpeechSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.avatar = name, avatar
        self.conversation = conversation
        self.speech = speech
        self.on_stats: Callable[[Stats], None] = lambda _: None
        """Called with the statistics of each second."""
        self.on_end: Callable[[Stage], None] = lambda _: None
        """Called when it has ended."""
        self.texts = TextToSpeechQueue(conversation, speech, self.tell)
        self._clock = clock
        self._sinks: list[Sink] = []
        self._sources: list[Source] = []
        self._members: dict[Audience, None] = {}
        self._pusher: Audience | None = None
        self._utterance: SpokenUtterance | None = None
        self._speakers: dict[str | int, str] = {}  # of utterances that are not heard to their end
        self._heard = ""  # who said what is heard
        self._floor = NOBODY
        self._speaking = False
        self._counted = (clock(), 0)
        self._lost = self._dropped = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = False

    @classmethod
    def open(
        cls, name: str, worker: Worker, avatar: Avatar, speech: SpeechSettings | None = None
    ) -> "Stage":
        """Open a stage; blocks until the avatar is prepared. ``start`` has it run.

        Raises AtCapacity when all of the worker's places are taken, EngineFailed when it is over.
        """
        conversation = Conversation(worker, avatar)
        return cls(name, conversation, avatar.name, speech or SpeechSettings())

    def start(self) -> None:
        """Begin to run."""
        for what, work in (("play", self._play()), ("report", self._report())):
            self._tasks.append(asyncio.create_task(work, name=f"{what} {self.name[:6]}"))

    def end(self, error: LipstreamError | None = None) -> None:
        """End it, and tell all who take part. Ending twice is fine."""
        if self._ended:
            return
        self._ended = True
        self.texts.interrupt()
        self.conversation.close()
        for task in self._tasks:
            task.cancel()
        if error is not None:
            self.tell(error_event(error))
        for member in list(self._members):
            member.stage_ended(error)
        self.on_end(self)

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._ended

    @property
    def stalled(self) -> bool:
        """Whether sound goes in and no frames come out."""
        return self.conversation.seconds_without_frame > STALL_SECONDS

    @property
    def empty(self) -> bool:
        """Whether nobody takes part."""
        return not self._members

    @property
    def delay_ms(self) -> float:
        """From live sound coming in to its being due."""
        return self.conversation.stats().live_delay_ms

    def seconds_since(self, sample: int) -> float:
        """Return how long ago an output sample fell due."""
        return self.conversation.seconds_since(sample)

    # ------------------------------------------------------------- who takes part

    def attach(self, sink: Sink) -> None:
        """Give a sink what falls due from now on."""
        self._sinks.append(sink)

    def detach(self, sink: Sink) -> None:
        """Give a sink nothing more. Twice is fine."""
        if sink in self._sinks:
            self._sinks.remove(sink)
            self._lost += sink.lost

    def join(self, member: Audience) -> None:
        """Let somebody take part: events are told, and the stage is kept."""
        self._members[member] = None
        self._tell_state()

    def leave(self, member: Audience) -> None:
        """Let somebody go. What was pushed is still said. Twice is fine."""
        if self._members.pop(member, self) is None and not self._ended:
            if self._pusher is member:
                self.end_speech(member)
            self._tell_state()

    def state(self) -> StageState:
        """Return who takes part."""
        return StageState(
            self.name, self.avatar, len(self._members), [one.name for one in self._sources]
        )

    def tell(self, event: str) -> None:
        """Tell everybody an event."""
        for member in list(self._members):
            member.tell(event)

    # --------------------------------------------------------------------- sound in

    def open_source(self, name: str) -> Source:
        """Return a live source, which takes the floor of live sound."""
        source = Source(self, name)
        self._sources.append(source)
        self.conversation.change_live_source()
        self._tell_state()
        return source

    def close_source(self, source: Source) -> None:
        """Forget a live source. Twice is fine."""
        if source not in self._sources:
            return
        if self._sources[-1] is source:
            self.conversation.change_live_source()
        self._sources.remove(source)
        if not self._ended:
            self._tell_state()

    def hear(self, source: Source, pcm: Pcm, pts: int | None) -> None:
        """Take live sound of a source, which is ignored while another has the floor."""
        if self._sources and self._sources[-1] is source and not self._ended:
            self.conversation.hear(pcm, pts)

    def begin_speech(self, member: Audience, name: str | int | None) -> None:
        """Begin an utterance of a member's. Raises InputError while somebody else speaks."""
        self._check_may_push(member)
        self._pusher = member
        self._utterance = self.conversation.begin(name)
        self._speakers[self._utterance.name] = self._heard = member.name

    def push_speech(self, member: Audience, pcm: Pcm, rate: int) -> None:
        """Add (n,) int16 to a member's utterance. Raises InputError where it cannot be said."""
        self._check_may_push(member)
        if self._pusher is None:  # it ran dry for so long that it counted as ended
            self.begin_speech(member, None if self._utterance is None else self._utterance.name)
        self.conversation.push(pcm, rate)

    def end_speech(self, member: Audience) -> None:
        """Say that a member's utterance is complete."""
        if self._pusher is member:
            self.conversation.end_of_speech()
            self._pusher = None

    def say(self, text: SpeakText) -> None:
        """Speak a text after those that wait. Raises InputError when it cannot be taken."""
        if self._pusher is not None:
            raise InputError("sound is being pushed: send the text after its end, or interrupt it")
        self.texts.add(text)

    def interrupt(self) -> float:
        """Silence what is said and forget what waits; return how much of it was heard, ms."""
        if self._pusher is not None:
            self._pusher.interrupted()
            self._pusher = None
        self.texts.interrupt()
        return self.conversation.interrupt()

    def _check_may_push(self, member: Audience) -> None:
        if self.texts.speaking:
            raise InputError("a text is being spoken: send the sound later, or interrupt it")
        if self._pusher is not None and self._pusher is not member:
            raise InputError(
                f"{self._pusher.name} is speaking: wait until its utterance has ended, or interrupt"
            )

    # ------------------------------------------------------------------- what is due

    async def _play(self) -> None:
        try:
            while True:
                for item in self.conversation.advance():
                    if isinstance(item, ConversationEvent):
                        self._on_event(item)
                    else:
                        self._on_media(item)
                await asyncio.sleep(self.conversation.seconds_to_next)
        except LipstreamError as error:
            log.error("stage %s: %s", self.name[:6], error)
            self.end(error)
        except Exception:  # the root of a stage: it alone ends
            log.exception("stage %s failed", self.name[:6])
            self.end(EngineFailed(_FAULT))

    def _on_event(self, event: ConversationEvent) -> None:
        if event.kind == "cue":
            self.tell(str(event.cue))
            return
        if event.kind == "began":
            self._heard = self._speakers.get(event.utterance, "")
        elif event.kind in ("ended", "interrupted"):
            self._speakers.pop(event.utterance, None)
        if event.kind == "ended" and self._utterance is not None and self._utterance.ended:
            self._pusher = self._pusher if self._utterance.name != event.utterance else None
        self.tell(utterance_event(event))
        self.texts.on_event(event)

    def _on_media(self, item: SoundBlock | ShownPicture) -> None:
        if isinstance(item, ShownPicture):
            self._on_picture(item)
        for sink in list(self._sinks):
            sink.on_media(item)

    def _on_picture(self, item: ShownPicture) -> None:
        speaking = item.frame.openness >= SPEAKING
        if speaking != self._speaking:
            self._speaking = speaking
            self.tell(state_event(speaking))
        if (floor := self._floor_now()) != self._floor:
            self._floor = floor
            self.tell(floor_event(floor.kind, floor.name))
        if item.frame.measures is None:
            return
        watching = [member for member in self._members if member.wants_face]
        if watching:
            lips = LipFrame(item.frame.measures, tongue_out=item.frame.tongue_out)
            event = face_event(item, named_units(lips))
            for member in watching:
                member.tell(event)

    def _floor_now(self) -> Floor:
        if self.texts.speaking:
            return Floor("text")
        if self.conversation.speech_active:
            return Floor("speech", self._heard)
        return Floor("live", self._sources[-1].name) if self._sources else NOBODY

    def described(self) -> str:
        """Return the event that says who takes part, for one whose channel opens later."""
        return stage_event(self.state(), self._floor.kind, self._floor.name)

    def _tell_state(self) -> None:
        self.tell(self.described())

    # --------------------------------------------------------------------- statistics

    @property
    def lost(self) -> int:
        """Pictures that sinks had no time for."""
        return self._lost + sum(sink.lost for sink in self._sinks)

    def stats(self) -> Stats:
        """Return how the time since the last call went."""
        now, how = self._clock(), self.conversation.stats()
        before, counted = self._counted
        self._counted = (now, how.playout.pictures)
        return Stats(
            fps=(how.playout.pictures - counted) / max(now - before, 1e-3),
            delay_ms=how.live_delay_ms,
            repeated=how.playout.repeated,
            lost=self.lost,
            queue_ms=how.queued_ms + how.live.waiting * 1000 / RATE,
            dropped_ms=how.live.dropped * 1000 / RATE,
        )

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            stats = self.stats()
            self.on_stats(stats)
            self.tell(stats_event(stats))
