"""A text, read aloud as if it were spoken into the microphone now."""

from typing import Self

from lipstream.speaking import Reading, Voice, check_text
from lipstream.types import Pcm


class TextSource:
    """Speech of a text, given as it falls due. It owns the voice."""

    def __init__(self, voice: Voice, text: str) -> None:
        """Check the text; raises InputError. Nothing is spoken before ``__enter__``."""
        check_text(text, voice)
        self.rate = voice.rate
        self._voice, self._text = voice, text
        self._reading: Reading | None = None
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
            self._given += len(spoken.pcm)
        return taken

    def ended(self) -> bool:
        """Return whether all has been given."""
        return self._reading is not None and self._reading.ended

    def __enter__(self) -> Self:
        self._reading = Reading(self._voice, self._text)
        return self

    def __exit__(self, *_: object) -> None:
        if self._reading is not None:
            self._reading.close()
        self._voice.close()

    def _is_due(self, now: float) -> bool:
        return self._begin is None or self._given <= (now - self._begin) * self.rate
