"""What the window is connected to: microphone, loudspeaker, sound files, spoken text and screen.

Sound devices through PortAudio (sounddevice), the window through SDL (pygame-ce).
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from lipstream.audio.ring import SoundQueue
from lipstream.errors import BackendUnavailable, InputError
from lipstream.live.conversation import Conversation
from lipstream.live.speech_input import speech_cues
from lipstream.media import SoundFile
from lipstream.speech import SpeechQueue, Voice, check_text
from lipstream.types import Image, Pcm
from lipstream_clients.window.playback import UserCommand

log = logging.getLogger(__name__)

BLOCK_MS = 20
_AHEAD_MS = 500.0
"""Speech of a file or a text that waits to be said."""
_MOST_BLOCKS = 200
"""Blocks kept from the microphone: 4 s; the oldest fall out when nobody takes them."""


def open_portaudio() -> Any:
    """Return the sounddevice module; raises BackendUnavailable saying what to install."""
    try:
        import sounddevice  # noqa: PLC0415  optional
    except ModuleNotFoundError as error:
        raise BackendUnavailable(
            "sound devices need the package sounddevice: pip install 'lipstream[mic]'"
        ) from error
    except OSError as error:
        raise BackendUnavailable(
            "sound devices need the PortAudio library: on Debian or Ubuntu 'apt install"
            " libportaudio2', elsewhere 'pip install sounddevice' brings it"
        ) from error
    return sounddevice


def choose_device(kind: str, asked: str | None) -> dict[str, Any]:
    """Return PortAudio's description of an input or output device.

    ``asked`` is its number or a part of its name, None for the system's default.
    """
    devices = open_portaudio()
    wanted = int(asked) if asked is not None and asked.isdigit() else asked
    try:
        return dict(devices.query_devices(wanted, kind))
    except (ValueError, devices.PortAudioError) as error:
        what = "microphone" if kind == "input" else "loudspeaker"
        named = "" if asked is None else f" '{asked}'"
        other = "--input FILE.wav" if kind == "input" else "--no-sound"
        raise InputError(
            f"no {what}{named} found: see 'lipstream window --list-devices', or use {other}"
        ) from error


class Microphone:
    """Mono int16 blocks of 20 ms from a sound card."""

    def __init__(self, asked: str | None = None) -> None:
        device = choose_device("input", asked)
        self.rate = int(device["default_samplerate"])
        self.overflows = 0
        """Blocks before which the sound card lost samples."""
        self._blocks: deque[Pcm] = deque(maxlen=_MOST_BLOCKS)
        self._stream = _open_stream(
            "InputStream",
            device=device["index"],
            samplerate=self.rate,
            blocksize=self.rate * BLOCK_MS // 1000,
            callback=self._hear,
        )

    def supply(self, conversation: Conversation) -> None:
        """Hand over the blocks that came in since the last call."""
        for _ in range(len(self._blocks)):
            conversation.hear(self._blocks.popleft())

    def stop(self) -> None:
        """Go on: what the microphone hears next is said again."""

    @property
    def ended(self) -> bool:
        """Whether no more will come: never, of a microphone."""
        return False

    def close(self) -> None:
        """Let the microphone go."""
        self._stream.close()
        if self.overflows:
            log.warning("the sound card lost sound before %d blocks", self.overflows)
            self.overflows = 0

    def __enter__(self) -> Self:
        self._stream.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hear(self, block: Any, _frames: int, _time: Any, status: Any) -> None:
        self.overflows += bool(status.input_overflow)
        self._blocks.append(block[:, 0].copy())


class FileSource:
    """A sound file, said as one utterance."""

    def __init__(self, sound: SoundFile) -> None:
        self.rate = sound.rate
        self._blocks = sound.blocks(sound.rate, sound.rate * BLOCK_MS // 1000)
        self.ended = False
        """Whether the file has been given to its end."""

    def supply(self, conversation: Conversation) -> None:
        """Push what is to be said soon."""
        while not self.ended and conversation.queued_ms < _AHEAD_MS:
            if (block := next(self._blocks, None)) is None:
                conversation.end_of_speech()
                self.ended = True
            else:
                conversation.push(block, self.rate)

    def stop(self) -> None:
        """Say no more of it."""
        self.ended = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Loudspeaker:
    """A sound card that plays what it is given."""

    def __init__(
        self, rate: int, asked: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._clock = rate, clock
        self._lock = threading.Lock()  # guards what follows; held for a copy of a few ms of sound
        self._waiting = SoundQueue()
        self._played = self._last_taken = 0
        self._last = 0.0
        self._stream = _open_stream(
            "OutputStream",
            device=choose_device("output", asked)["index"],
            samplerate=rate,
            callback=self._fill,
        )
        self.latency = float(self._stream.latency)
        """Seconds from a sample's being taken to its being heard."""

    def play(self, pcm: Pcm) -> None:
        """Take (n,) int16."""
        with self._lock:
            self._waiting.put(pcm)

    def taken(self) -> float:
        """Return how much of what it was given it has taken, seconds. Any thread.

        The card takes a piece at a time; between two of them it counts as taken bit by bit.
        """
        with self._lock:
            since = max(0.0, self._clock() - self._last)
            last = self._last_taken / self._rate
            return self._played / self._rate - last + min(since, last)

    def close(self) -> None:
        """Let the loudspeaker go."""
        self._stream.close()

    def __enter__(self) -> Self:
        self._stream.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fill(self, out: Any, _count: int, _time: Any, _status: Any) -> None:
        with self._lock:
            taken = self._waiting.take(out[:, 0])
            self._played += taken
            self._last, self._last_taken = self._clock(), taken


class SilentSink:
    """Plays nothing, at the right speed."""

    latency = 0.0
    """Seconds from a sample's being taken to its being heard."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._begin = clock, clock()

    def play(self, _pcm: Pcm) -> None:
        """Take (n,) int16."""

    def taken(self) -> float:
        """Return how much a loudspeaker would have taken by now, seconds."""
        return self._clock() - self._begin

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _open_stream(kind: str, **settings: Any) -> Any:
    devices = open_portaudio()
    try:
        return getattr(devices, kind)(channels=1, dtype=np.int16, latency="low", **settings)
    except (devices.PortAudioError, ValueError) as error:
        raise InputError(
            f"the sound device cannot be opened at {settings['samplerate']} Hz: {error}; choose"
            " another one of 'lipstream window --list-devices'"
        ) from error


class TextSource:
    """Speech of a text, whose sounds the lips are told beforehand. It owns the voice."""

    def __init__(self, voice: Voice, text: str) -> None:
        """Check the text; raises InputError. Nothing is spoken before ``__enter__``."""
        check_text(text, voice)
        self.rate = voice.rate
        self._voice, self._text = voice, text
        self._reading: SpeechQueue | None = None
        self.ended = False
        """Whether all has been given."""

    def supply(self, conversation: Conversation) -> None:
        """Push what is to be said soon, as far as the voice has spoken.

        Raises LipstreamError when the voice cannot go on.
        """
        if self._reading is None or self.ended:
            return
        while conversation.queued_ms < _AHEAD_MS:
            if (spoken := self._reading.take()) is None:
                break
            conversation.push(spoken.pcm, self.rate, speech_cues(spoken.phones, self.rate))
        if self._reading.ended:
            conversation.end_of_speech()
            self.ended = True

    def stop(self) -> None:
        """Say no more of it."""
        self.ended = True
        if self._reading is not None:
            self._reading.close()

    def __enter__(self) -> Self:
        self._reading = SpeechQueue(self._voice, self._text)
        return self

    def __exit__(self, *_: object) -> None:
        if self._reading is not None:
            self._reading.close()
        self._voice.close()


_UNSEEN = {"offscreen", "dummy", "evdev"}
"""SDL's drivers that show nothing to anybody: it falls back to them where there is no screen."""


class PygameScreen:
    """A window of the avatar's size that can be resized. Main thread only."""

    def __init__(self, width: int, height: int) -> None:
        self._pygame = pygame = _open_pygame()
        self._keys: dict[int, UserCommand] = {pygame.K_ESCAPE: "leave", pygame.K_q: "leave"}
        self._keys[pygame.K_SPACE] = "interrupt"
        try:
            self._pygame.display.init()
            self._window = self._pygame.display.set_mode((width, height), self._pygame.RESIZABLE)
        except self._pygame.error as error:
            raise _no_window(str(error)) from error
        driver = self._pygame.display.get_driver()
        if driver in _UNSEEN and "SDL_VIDEODRIVER" not in os.environ:
            self.close()
            raise _no_window(f"SDL found only its '{driver}' driver")
        self.set_title("lipstream")

    def show(self, image: Image) -> None:
        """Show a (H, W, 3) uint8 BGR picture, as large as the window allows, not stretched."""
        height, width = image.shape[:2]
        picture = self._pygame.image.frombuffer(np.ascontiguousarray(image), (width, height), "BGR")
        available = self._window.get_size()
        scale = min(available[0] / width, available[1] / height)
        if scale != 1.0:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            picture = self._pygame.transform.smoothscale(picture, size)
            self._window.fill((0, 0, 0))
        place = [(available[axis] - picture.get_size()[axis]) // 2 for axis in (0, 1)]
        self._window.blit(picture, place)
        self._pygame.display.flip()

    def set_title(self, title: str) -> None:
        """Set the window's title."""
        self._pygame.display.set_caption(title)

    def commands(self) -> set[UserCommand]:
        """Return what the user asked for: Esc, q and the close button leave, space interrupts."""
        asked: set[UserCommand] = set()
        for event in self._pygame.event.get():
            if event.type == self._pygame.QUIT:
                asked.add("leave")
            elif event.type == self._pygame.KEYDOWN and event.key in self._keys:
                asked.add(self._keys[event.key])
        return asked

    def close(self) -> None:
        """Close the window; closing twice is fine."""
        self._pygame.display.quit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _no_window(reason: str) -> InputError:
    return InputError(
        f"no window can be opened ({reason}): run it on a desktop, or write a film with"
        " 'lipstream render'"
    )


def _open_pygame() -> Any:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import pygame  # noqa: PLC0415  optional
    except ModuleNotFoundError as error:
        raise BackendUnavailable(
            "the window needs the package pygame-ce: pip install 'lipstream[mic]'"
        ) from error
    return pygame
