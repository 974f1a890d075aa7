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
from lipstream.lips.phones import Phone
from lipstream.media import SoundFile
from lipstream.speech import SpeechQueue, Voice, check_text
from lipstream.types import Image, Pcm

log = logging.getLogger(__name__)

BLOCK_MS = 20
_LEAD_MS = 40
"""Sound kept waiting for the loudspeaker, so that a late loop is not heard."""
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

    def take(self, _now: float) -> list[Pcm]:
        """Return the blocks that came in since the last call."""
        return [self._blocks.popleft() for _ in range(len(self._blocks))]

    def phones(self) -> list[Phone]:
        """Return nothing: nobody knows what is said."""
        return []

    def ended(self) -> bool:
        """Return False: a microphone has no end."""
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
    """A sound file, fed as if it were spoken now."""

    def __init__(self, sound: SoundFile) -> None:
        self.rate = sound.rate
        self._blocks = sound.blocks(sound.rate, sound.rate * BLOCK_MS // 1000)
        self._begin: float | None = None
        self._given = 0
        self._ended = False

    def take(self, now: float) -> list[Pcm]:
        """Return the blocks whose time has passed."""
        self._begin = now if self._begin is None else self._begin
        due = int((now - self._begin) * self.rate)
        taken = []
        while not self._ended and self._given < due:
            block = next(self._blocks, None)
            if block is None:
                self._ended = True
            else:
                taken.append(block)
                self._given += len(block)
        return taken

    def phones(self) -> list[Phone]:
        """Return nothing: nobody knows what is said."""
        return []

    def ended(self) -> bool:
        """Return whether the file has been given to its end."""
        return self._ended

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
        self._played = 0
        self._last = 0.0
        self._stream = _open_stream(
            "OutputStream",
            device=choose_device("output", asked)["index"],
            samplerate=rate,
            callback=self._fill,
        )
        self._latency = float(self._stream.latency)

    def wanted(self, _now: float) -> int:
        """Return how many samples are missing from the lead."""
        with self._lock:
            return max(0, self._rate * _LEAD_MS // 1000 - len(self._waiting))

    def play(self, pcm: Pcm) -> None:
        """Take (n,) int16."""
        with self._lock:
            self._waiting.put(pcm)

    def heard(self, now: float) -> int:
        """Return how many samples have left the card: what it took, less its own latency."""
        with self._lock:
            ahead = max(0.0, self._latency - (now - self._last))
            return round(self._played - ahead * self._rate)

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
            if taken > 0:
                self._last = self._clock()


class SilentSink:
    """Plays nothing, at the right speed."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._begin: float | None = None
        self._given = 0

    def wanted(self, now: float) -> int:
        """Return how many samples a loudspeaker would have taken by now."""
        self._begin = now if self._begin is None else self._begin
        return max(0, int((now - self._begin) * self._rate) - self._given)

    def play(self, pcm: Pcm) -> None:
        """Count (n,) int16."""
        self._given += len(pcm)

    def heard(self, _now: float) -> int:
        """Return how many samples were given."""
        return self._given

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
    """Speech of a text, given as it falls due. It owns the voice."""

    def __init__(self, voice: Voice, text: str) -> None:
        """Check the text; raises InputError. Nothing is spoken before ``__enter__``."""
        check_text(text, voice)
        self.rate = voice.rate
        self._voice, self._text = voice, text
        self._reading: SpeechQueue | None = None
        self._phones: list[Phone] = []
        self._begin: float | None = None
        self._given = 0

    def take(self, now: float) -> list[Pcm]:
        """Return the pieces whose time has come. Time stands still while the voice has none ready.

        Raises LipstreamError when the voice cannot go on.
        """
        taken: list[Pcm] = []
        while self._reading is not None and self._is_due(now):
            spoken = self._reading.take()
            if spoken is None:
                self._begin = None
                break
            if self._begin is None:
                self._begin = now - self._given / self.rate
            taken.append(spoken.pcm)
            self._phones += [phone.later(self._given) for phone in spoken.phones]
            self._given += len(spoken.pcm)
        return taken

    def phones(self) -> list[Phone]:
        """Return what is spoken when in what ``take`` gave since, in samples from the start."""
        phones, self._phones = self._phones, []
        return phones

    def ended(self) -> bool:
        """Return whether all has been given."""
        return self._reading is not None and self._reading.ended

    def __enter__(self) -> Self:
        self._reading = SpeechQueue(self._voice, self._text)
        return self

    def __exit__(self, *_: object) -> None:
        if self._reading is not None:
            self._reading.close()
        self._voice.close()

    def _is_due(self, now: float) -> bool:
        return self._begin is None or self._given <= (now - self._begin) * self.rate


_UNSEEN = {"offscreen", "dummy", "evdev"}
"""SDL's drivers that show nothing to anybody: it falls back to them where there is no screen."""


class PygameScreen:
    """A window of the avatar's size that can be resized. Main thread only."""

    def __init__(self, width: int, height: int) -> None:
        self._pygame = _open_pygame()
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

    def closed(self) -> bool:
        """Return whether the window was closed, or Esc or q pressed."""
        leave = (self._pygame.K_ESCAPE, self._pygame.K_q)
        return any(
            event.type == self._pygame.QUIT
            or (event.type == self._pygame.KEYDOWN and event.key in leave)
            for event in self._pygame.event.get()
        )

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
