"""The pictures of docs/text.md: what the mouth does at each word of a text.

Run it by hand: ``python docs/text/strips.py``. Each strip has one picture a word, of the middle of
the word, and a number that the table in docs/text.md goes by, which is logged.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lipstream import LipSync, Options
from lipstream.face.tracker import FaceTracker
from lipstream.lips.shape import measure_lips
from lipstream.speech import Mark, SpeechSettings, Voice, open_voice, read_aloud
from lipstream.types import Array, Image, Pcm

log = logging.getLogger(__name__)

ENGLISH = "Papa may move the car, but nobody saw a whale."
TEXTS = {
    "en-us": ENGLISH,
    "en-in": ENGLISH,
    "ar": "مرحبا، بابا وماما معنا الآن في البيت.",
    "hi": "नमस्ते, मैं आपकी बात साफ़ बोल सकती हूँ।",
}
AVATARS = {"en-us": "ada", "en-in": "mei", "ar": "mei", "hi": "ada"}
TILE = 132
"""Pixels of the side of one picture."""
FPS = 25


def main() -> None:
    """Write a strip for each text, and log the words, their times and a figure."""
    for voice_name, text in TEXTS.items():
        voice = open_voice(SpeechSettings(voice=voice_name))
        pcm, words = _spoken(list(read_aloud(voice, text)))
        frames = _frames(pcm, voice.rate, AVATARS[voice_name])
        gaps, box = _watched(frames)
        ends = [word.sample for word in words[1:]] + [len(pcm) - voice.rate // 4]
        spans = zip(words, ends, strict=True)
        middles = [(word.sample + end) * FPS // (2 * voice.rate) for word, end in spans]
        _write(Path(__file__).with_name(f"{voice_name}.jpg"), [frames[k] for k in middles], box)
        for number, word in enumerate(words, 1):
            word_text = text[word.start : word.stop]
            log.info("%d. %s %.2f s", number, word_text, word.sample / voice.rate)
        log.info("%s: opening against loudness, r = %.2f", voice_name, _follows(gaps, pcm, voice))


def _spoken(pieces: Sequence[Any]) -> tuple[Pcm, list[Mark]]:
    assert len(pieces) == 1, "give one sentence"
    return pieces[0].pcm, [mark for mark in pieces[0].marks if mark.kind == "word"]


def _frames(pcm: Pcm, rate: int, avatar: str) -> list[Image]:
    with LipSync.open(Options(avatar=Path(avatar), rate=rate, fps=FPS)) as lips:
        return [frame.image for frame in (*lips.feed(pcm), *lips.flush())]


def _watched(frames: list[Image]) -> tuple[Array, tuple[int, int, int]]:
    """Return the gap between the lips in each frame, and where the mouth is: x, y and side."""
    gaps, points = [], None
    with FaceTracker.open() as tracker:
        for frame in frames:
            seen = tracker.step(frame)
            points = points if seen is None else np.asarray(seen.points)
            assert points is not None, "no face in the first frame"
            gaps.append(measure_lips(points[None, :, :2])[0][0])
    assert points is not None, "no frames"
    corners = points[[61, 291]]
    side = round(2.1 * float(np.linalg.norm(corners[1] - corners[0])))
    x, y = corners.mean(0)[:2]
    return np.array(gaps), (round(float(x)), round(float(y)), side)


def _write(path: Path, frames: list[Image], box: tuple[int, int, int]) -> None:
    x, y, side = box
    tiles = []
    for number, frame in enumerate(frames, 1):
        part = frame[y - side // 2 : y + side // 2, x - side // 2 : x + side // 2]
        tile = cv2.resize(part, (TILE, TILE), interpolation=cv2.INTER_AREA)
        for colour, width in ((0, 3), (255, 1)):
            place = (6, TILE - 8)
            ink = (colour, colour, colour)
            cv2.putText(tile, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, width, 16)
        tiles += [tile, np.full((TILE, 3, 3), 255, np.uint8)]
    cv2.imwrite(str(path), np.hstack(tiles[:-1]), [cv2.IMWRITE_JPEG_QUALITY, 88])


def _follows(gaps: Array, pcm: Pcm, voice: Voice) -> float:
    """Return how the opening follows the loudness of each frame, both smoothed over 120 ms."""
    size = voice.rate // FPS
    count = min(len(gaps), len(pcm) // size)
    loud = np.abs(pcm[: count * size].reshape(count, size).astype(float)).mean(1)
    smooth = np.ones(3) / 3
    both = [np.convolve(signal[:count], smooth, "same") for signal in (gaps, np.log1p(loud))]
    return float(np.corrcoef(np.stack(both))[0, 1])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
