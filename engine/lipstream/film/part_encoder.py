"""Encoding beside rendering: pictures go to a thread that writes them."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lipstream.film.concurrency import waiting
from lipstream.media import FilmFormat, PictureWriter
from lipstream.types import Image

_WAITING = 4
"""Pictures that may wait to be encoded, at most; when so many do, rendering waits."""


class PartEncoder:
    """Writes one part in a thread of its own."""

    def __init__(self, path: Path, shape: FilmFormat) -> None:
        room = waiting(shape.width, shape.height, _WAITING)
        self._pictures: queue.Queue[Image | None] = queue.Queue(room)
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._encode, args=(path, shape), name="lipstream-encode", daemon=True
        )
        self._whole = False
        self._thread.start()

    def write(self, image: Image) -> None:
        """Hand over a picture, not to be written to any more. Raises what the encoder met."""
        self._pictures.put(image)
        if self._error is not None:
            raise self._error

    def end(self, *, whole: bool) -> None:
        """Wait until the part is written, or given up if it is not ``whole``."""
        self._whole = whole
        self._pictures.put(None)
        self._thread.join()
        if whole and self._error is not None:
            raise self._error

    def _encode(self, path: Path, shape: FilmFormat) -> None:
        ended = False
        try:
            writer = PictureWriter(path, shape)
            try:
                while (image := self._pictures.get()) is not None:
                    writer.write(image)
                ended = True
                if self._whole:
                    writer.close()
            finally:
                writer.abandon()
        except BaseException as error:  # noqa: BLE001 -- carried over to the thread that renders
            self._error = error
            while not ended:  # who renders may be waiting for room in the queue
                ended = self._pictures.get() is None


@contextmanager
def open_part(path: Path, shape: FilmFormat) -> Iterator[PartEncoder]:
    """Write a part; it is there only when the block ends without an error."""
    encoder = PartEncoder(path, shape)
    try:
        yield encoder
    except BaseException:
        encoder.end(whole=False)
        raise
    encoder.end(whole=True)
