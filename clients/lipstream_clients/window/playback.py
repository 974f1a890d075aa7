"""Sound in, a face in a window and the sound out again, in step: the loop between the devices.

A ``Conversation`` says what is heard and shown when, by the loudspeaker's own clock: the picture
shown is the one of the sample that is just leaving it, so the two cannot drift apart, whatever
other clocks do. Where the loop comes late the loudspeaker waits for it, and so does all else.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from lipstream.live.conversation import Conversation
from lipstream.live.playout import ShownPicture, SoundBlock
from lipstream.types import Image, Pcm

LEAD_MS = 60.0
"""Sound kept waiting for the loudspeaker, so that a late loop is not heard."""
_WAKE_SECONDS = 0.01
"""Longest sleep of the loop: keys and the close button are looked at this often."""
_RATE_WINDOW = 50
"""Pictures over which the rate in the title is taken."""
_TITLE_SECONDS = 0.5

UserCommand = Literal["leave", "interrupt"]
"""What the user wants."""


class AudioSource(Protocol):
    """Where sound comes from."""

    rate: int

    def supply(self, conversation: Conversation, /) -> None:
        """Hand over what has come, or is to be said next, since the last call."""
        ...

    def stop(self) -> None:
        """Say nothing more of what was to be said: the user interrupts."""
        ...

    @property
    def ended(self) -> bool:
        """Whether no more will come."""
        ...


class AudioSink(Protocol):
    """Where sound goes to."""

    latency: float
    """Seconds from a sample's being taken to its being heard."""

    def play(self, pcm: Pcm, /) -> None:
        """Take (n,) int16."""
        ...

    def taken(self) -> float:
        """Return how much of what it was given it has taken, seconds. Any thread."""
        ...


class Screen(Protocol):
    """Where pictures go to."""

    def show(self, image: Image, /) -> None:
        """Show a (H, W, 3) uint8 BGR picture."""
        ...

    def set_title(self, title: str, /) -> None:
        """Set the title."""
        ...

    def commands(self) -> set[UserCommand]:
        """Return what the user asked for by key or mouse since the last call."""
        ...


@dataclass(frozen=True, slots=True)
class PlaybackDevices:
    """What is played to and from."""

    source: AudioSource
    speaker: AudioSink
    screen: Screen


@dataclass(frozen=True, slots=True)
class PlaybackStats:
    """What a run came to."""

    shown: int
    """Pictures shown."""
    skipped: int
    """Pictures that came too late to be shown."""
    delay_ms: float
    """From sound in to sound and picture out, at its end."""


class Playback:
    """One run of the window, on one thread.

    ``conversation`` has the loudspeaker's ``taken`` as its clock, and a lead of ``LEAD_MS``.
    """

    def __init__(
        self,
        devices: PlaybackDevices,
        conversation: Conversation,
        *,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._devices, self._conversation, self._sleep = devices, conversation, sleep
        self._waiting: deque[ShownPicture] = deque()
        self._times: deque[float] = deque(maxlen=_RATE_WINDOW)
        self._origin = devices.speaker.taken()
        self._titled = 0.0
        self._count = 0
        self._silent_at: float | None = None

    def run(self) -> PlaybackStats:
        """Show until the user leaves, or all has been said and heard. Raises EngineFailed."""
        while self.step():
            self._sleep(_WAKE_SECONDS)
        return self.stats()

    def step(self) -> bool:
        """Move everything that is due; return whether to go on. Raises EngineFailed."""
        source, speaker = self._devices.source, self._devices.speaker
        commands = self._devices.screen.commands()
        if "interrupt" in commands:
            source.stop()
            self._conversation.interrupt()
        source.supply(self._conversation)
        for item in self._conversation.advance():
            if isinstance(item, SoundBlock):
                speaker.play(item.pcm)
            elif isinstance(item, ShownPicture):
                self._waiting.append(item)
        heard = speaker.taken() - speaker.latency
        self._look(heard)
        return "leave" not in commands and not self._is_over(heard)

    def stats(self) -> PlaybackStats:
        """Return what it came to so far."""
        skipped = self._conversation.stats().playout.skipped
        return PlaybackStats(self._count, skipped, self._delay_ms)

    @property
    def _delay_ms(self) -> float:
        return self._conversation.stats().live_delay_ms + self._devices.speaker.latency * 1000

    def _is_over(self, heard: float) -> bool:
        """Return whether all was said, and has left the loudspeaker."""
        if not self._devices.source.ended or self._conversation.speech_active:
            self._silent_at = None
            return False
        if self._silent_at is None:
            self._silent_at = self._devices.speaker.taken()
        return heard >= self._silent_at

    def _look(self, heard: float) -> None:
        """Show the picture of the sample that is heard, when it has changed."""
        rate, due = self._conversation.settings.rate, None
        while self._waiting and self._waiting[0].sample <= (heard - self._origin) * rate:
            due = self._waiting.popleft()
        if due is not None:
            self._count += 1
            self._times.append(heard)
            self._devices.screen.show(due.frame.image)
        if heard - self._titled >= _TITLE_SECONDS:
            self._titled = heard
            self._devices.screen.set_title(self._title())

    def _title(self) -> str:
        span = self._times[-1] - self._times[0] if len(self._times) > 1 else 0.0
        rate = (len(self._times) - 1) / span if span > 0 else 0.0
        return f"lipstream · {rate:.1f} fps · delay {self._delay_ms:.0f} ms"
