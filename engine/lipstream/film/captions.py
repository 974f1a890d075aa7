"""Captions of a film: what is said when, for people to read, as SRT, WebVTT or in the pictures.

They are known of texts that a voice has spoken, and of sounds made from such texts, which carry
them (``append_sentences`` in ``lipstream.speech.text_to_speech``).
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path

import cv2
import numpy as np

from lipstream.errors import InputError, MediaError
from lipstream.film.timeline import PHONE_RATE, EditTimeline
from lipstream.storage import atomic_write
from lipstream.types import Image

SUFFIXES = (".srt", ".vtt")
_LINE, _LINES = 42, 2
"""Letters in a line, and lines at once, as broadcasters have them."""
_HEIGHT, _BOTTOM = 0.05, 0.90
"""Height of the letters, and where the last line ends, as shares of the picture's height."""
_WIDEST = 0.92
_SHADE = 0.35
"""Brightness that is left under the letters."""
_UNDRAWN = "devanagari bengali tamil telugu kannada malayalam gujarati thai khmer myanmar ethiopic"
"""Scripts that OpenCV's font has no letters for."""


@dataclass(frozen=True, slots=True)
class Caption:
    """A piece of text, and when it is shown."""

    text: str
    start: int
    """First sample of the film's sound."""
    stop: int
    """One past the last."""


def film_captions(timeline: EditTimeline) -> list[Caption]:
    """Return the captions of a film, in samples of its sound; none where no words are known."""
    captions: list[Caption] = []
    for spoken in timeline.spoken_ranges:
        begin = timeline.start_of(spoken.start) + spoken.wait
        skipped = int(spoken.clip.start_s * timeline.rate)
        for sentence in spoken.clip.sentences:
            start, stop = (
                round(sample * timeline.rate / PHONE_RATE) - skipped
                for sample in (sentence.start, sentence.stop)
            )
            start, stop = max(0, start), min(spoken.samples, stop)
            if start < stop:
                captions += _shared(sentence.text, begin + start, begin + stop)
    return captions


def _shared(text: str, start: int, stop: int) -> list[Caption]:
    """Return a sentence as captions of few enough lines, which share its time by their letters."""
    lines = _lines(" ".join(text.split()))
    parts = ["\n".join(lines[at : at + _LINES]) for at in range(0, len(lines), _LINES)]
    edges = np.cumsum([0, *map(len, parts)])
    times = (start + edges * (stop - start) / max(1, edges[-1])).round().astype(int).tolist()
    return [Caption(*one) for one in zip(parts, times[:-1], times[1:], strict=True)]


def _lines(text: str) -> list[str]:
    """Break a text into lines of about the same length, between words where it has any."""
    count = -(-len(text) // _LINE)
    lines: list[str] = []
    while len(text) > _LINE:
        aim = min(_LINE, -(-len(text) // max(1, count - len(lines))) + 3)
        at = text.rfind(" ", 1, aim + 1)
        at = text.rfind(" ", 1, _LINE + 1) if at < 0 else at
        cut = _LINE if at < 0 else at
        lines.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return [*lines, text] if text else lines


def write_captions(path: Path, captions: Sequence[Caption], rate: int) -> None:
    """Write captions as SRT or WebVTT, by the ending of the name. Raises MediaError."""
    web = path.suffix.lower() == ".vtt"
    entries = []
    for number, one in enumerate(captions, 1):
        times = " --> ".join(_clock(sample, rate, "." if web else ",") for sample in _edges(one))
        text = escape(one.text, quote=False) if web else one.text
        entries.append(f"{times}\n{text}\n" if web else f"{number}\n{times}\n{text}\n")
    try:
        with atomic_write(path) as unfinished:
            unfinished.write_text("\n".join((["WEBVTT\n"] if web else []) + entries), "utf-8")
    except OSError as error:
        raise MediaError(f"cannot write {path}: {error.strerror or error}") from error


def srt_of_vtt(text: str) -> str:
    """Return what ``write_captions`` wrote as WebVTT as SRT."""
    entries = text.removeprefix("WEBVTT\n\n").strip().split("\n\n")
    numbered = []
    for number, entry in enumerate(filter(None, entries), 1):
        times, _, words = entry.partition("\n")
        numbered.append(f"{number}\n{times.replace('.', ',')}\n{unescape(words)}\n")
    return "\n".join(numbered)


def _edges(caption: Caption) -> tuple[int, int]:
    return caption.start, caption.stop


def _clock(sample: int, rate: int, point: str) -> str:
    ms = round(sample * 1000 / rate)
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{ms:03d}"


def check_drawable(captions: Sequence[Caption]) -> None:
    """Raise InputError for letters that cannot be drawn into pictures."""
    if not hasattr(cv2, "FontFace"):
        raise InputError("to draw captions needs OpenCV 5: pip install -U opencv-python-headless")
    for letter in {letter for one in captions for letter in one.text if not letter.isascii()}:
        script = unicodedata.name(letter, "").partition(" ")[0].lower()
        if unicodedata.bidirectional(letter) in ("R", "AL") or script in _UNDRAWN.split():
            raise InputError(
                f"captions with the letter {letter} cannot be drawn into pictures: write them to a"
                " file with --captions, which players show"
            )


def draw_caption(image: Image, text: str) -> Image:
    """Return a new picture with a text of one or two lines below in the middle, on a shade."""
    height, width = image.shape[:2]
    font, lines = cv2.FontFace("sans"), text.split("\n")
    size = max(8, round(_HEIGHT * height))
    widest = max(_width(line, font, size) for line in lines)
    if widest > _WIDEST * width:
        size = max(6, int(size * _WIDEST * width / widest))
    step, out = round(1.35 * size), image.copy()
    baseline = round(_BOTTOM * height) - step * (len(lines) - 1)
    for line in lines:
        across = _width(line, font, size)
        left = (width - across) // 2
        pad = size // 3
        rows = slice(max(0, baseline - size - pad // 2), min(height, baseline + pad + 1))
        columns = slice(max(0, left - pad), min(width, left + across + pad))
        out[rows, columns] = (out[rows, columns].astype(np.float32) * _SHADE).astype(np.uint8)
        cv2.putText(out, line, (left, baseline), (255, 255, 255), font, size, 400)
        baseline += step
    return out


def _width(line: str, font: "cv2.FontFace", size: int) -> int:
    return int(cv2.getTextSize((1, 1), line, (0, 0), font, size, 400)[2])
