"""The pictures under a film: which part of a file, how cut and sized, and what follows its end."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from lipstream.errors import InputError
from lipstream.film.concurrency import pictures_in_budget, prefetch
from lipstream.film.job import AS_IT_IS, LEAST_SIDE, WHOLE, Cut, Ends, Framing
from lipstream.media import FilmReader
from lipstream.types import Float32, Image

_BACKWARDS_BYTES = 100_000_000
"""Pictures held at once to be played backwards."""
_WORTH_SEEKING = 50
"""Pictures that are rather decoded and left out than jumped over."""


class VideoSource:
    """The used part of a film at a constant rate, and what follows its end. One thread."""

    def __init__(
        self, film: FilmReader, fps: Fraction, cut: Cut = WHOLE, view: Framing = AS_IT_IS
    ) -> None:
        """Measure the film's length; raises InputError for a part that is not in it."""
        self.film, self.fps = film, fps
        self._cut, self._view = cut, view
        self.width, self.height = view.shown_size(film.width, film.height)
        whole = film.count(fps)
        self.first = int(cut.start_s * fps)
        """Slot of the film that is frame 0 of this video."""
        stop = whole if cut.stop_s is None else round(cut.stop_s * fps)
        if not 0 <= self.first < stop or (cut.stop_s is not None and stop > whole + 1):
            raise InputError(
                f"{film.path.name} lasts {float(whole / fps):.2f} s: the part from"
                f" {float(cut.start_s):g} to {float(stop / fps):.2f} s is not in it"
            )
        self.count = min(stop, whole) - self.first
        """Frames of the used part."""

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of the pictures."""
        return self.width, self.height

    @property
    def unsized(self) -> "VideoSource":
        """The same, cropped but not sized: where faces are is not to depend on how they are shown.

        Itself where nothing is sized, or where so little is shown that it has to be.
        """
        view = Framing(self._view.crop)
        part = view.rectangle(self.film.width, self.film.height)
        small = min(part.right - part.left, part.bottom - part.top) < LEAST_SIDE
        if self._view == view or small:
            return self
        return VideoSource(self.film, self.fps, self._cut, view)

    def affine_from(self, unsized: "VideoSource") -> Float32:
        """Return the (2, 3) affine from places in pictures of ``unsized`` to those in ours."""
        view = AS_IT_IS if unsized is self else replace(self._view, crop=None)
        return view.affine(unsized.width, unsized.height)

    def at(self, frame: int, ends: Ends) -> int:
        """Return which frame of the used part stands under a frame of the output."""
        if frame < self.count or self.count == 1:
            return min(frame, self.count - 1)
        if ends == "repeat":
            return frame % self.count
        if ends == "bounce":
            lap = frame % (2 * self.count - 2)
            return min(lap, 2 * self.count - 2 - lap)
        return self.count - 1

    def pictures(self, first: int = 0) -> Iterator[Image]:
        """Yield the used part from a frame on, exactly ``count - first`` pictures.

        Where the file gives fewer than its time stamps promise, the last is repeated.
        """
        count, image = first, None
        for picture in self.film.pictures(self.fps, self.first + first):
            if count == self.count:
                return
            image = self._view.of(picture)
            yield image
            count += 1
        for _ in range(count, self.count):
            image = self._last() if image is None else image
            yield image.copy()

    def _last(self) -> Image:
        """Return the last picture there is of a film that has fewer than promised."""
        last = deque(self.film.pictures(self.fps), maxlen=1)
        return self._view.of(last[0])


class EndlessVideo:
    """Shows a video frame after frame of the output, past its end as told. One thread."""

    def __init__(self, video: VideoSource, ends: Ends) -> None:
        self._video = video
        self._ends: Ends = ends
        self._room = pictures_in_budget(video.width, video.height, 2)
        self._next = 0
        self._pictures: Iterator[Image] | None = None

    def picture_at(self, frame: int) -> Image:
        """Return the picture under a frame of the output; quick in rising order."""
        skipped = frame - self._next
        if self._pictures is None or not 0 <= skipped <= _WORTH_SEEKING:
            self._pictures, skipped = prefetch(self._from(frame), self._room, "decode"), 0
        for _ in range(skipped):
            next(self._pictures)
        self._next = frame + 1
        return next(self._pictures)

    def _from(self, frame: int) -> Iterator[Image]:
        """Yield the pictures from a frame of the output on, for ever."""
        video = self._video
        ends = self._ends
        while True:
            at = video.at(frame, ends)
            run = video.count - at
            if frame >= video.count and ends in ("hold", "cut"):
                yield from _same(next(video.pictures(video.count - 1)))
            if video.at(frame + 1, ends) < at and ends == "bounce":
                yield from self._backwards(at)
                run = at
            else:
                yield from video.pictures(at)
            frame += max(1, run)

    def _backwards(self, last: int) -> Iterator[Image]:
        """Yield frames ``last`` down to 1, in pieces that fit into memory."""
        video = self._video
        piece = max(1, _BACKWARDS_BYTES // (video.width * video.height * 3))
        stop = last + 1
        while stop > 1:
            start = max(1, stop - piece)
            pictures = video.pictures(start)
            held = [next(pictures) for _ in range(stop - start)]
            yield from reversed(held)
            stop = start


def _same(image: Image) -> Iterator[Image]:
    while True:
        yield image
