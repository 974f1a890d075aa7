"""Draw a sheet of people who speak: each picture at rest, and in six moments of one sound.

    python tools/draw_people.py FACES/london SOUND -o models/results/people.jpg --every 2

Pictures are NNN_03.jpg and NNN_08.jpg, one person's neutral and smiling. Each goes the way that is
live: at rest, at the widest opening, half open, at three closures of p, b or m, and where the mouth
is narrowest.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from lipstream.audio.mel import mel_spectrogram
from lipstream.avatar.making import open_avatar
from lipstream.errors import LipstreamError
from lipstream.face.crop import HeadFrame
from lipstream.inference.manifest import embedded_models
from lipstream.inference.model import MouthModel
from lipstream.live.frame_source import PreparedAvatar
from lipstream.live.lipsync import LipSync
from lipstream.media import SoundFile
from lipstream_models.evaluation.lip_events import LipModel

SECONDS, RATE, PEAK = 10, 16000, 0.5
WIDTH, HEIGHT, ACROSS = 130, 104, 3
GAP, MOUTH_WIDTH = 0, 3
"""Of the lip measures."""
NEAR, OPEN = 8, 0.4
"""Frames beside a closure in which the mouth opens, and how far, spreads."""


def read_speech(path: Path) -> np.ndarray:
    """Return the first seconds of a sound, (n,) int16, at a peak of 0.5."""
    block = next(SoundFile.open(path).blocks(RATE, SECONDS * RATE))
    return (block * (PEAK * 32768 / max(1, int(np.abs(block).max())))).astype(np.int16)


def moments(pcm: np.ndarray) -> list[int]:
    """Return the frames to be drawn."""
    with LipModel(embedded_models()["quality"]) as model:
        heard = model.predict(mel_spectrogram(pcm.astype(np.float32) / np.float32(32768)))
        lips = heard.decoded(model.settings)
    gap, inner = lips[:, GAP], slice(NEAR, -NEAR)
    closed = [
        k
        for k in range(NEAR, len(gap) - NEAR)
        if gap[k] < 0 and min(gap[k - NEAR : k].max(), gap[k : k + NEAR].max()) > OPEN
    ]
    half = int(np.abs(gap - np.quantile(gap, 0.75)).argmin())
    narrow = NEAR + int(lips[inner, MOUTH_WIDTH].argmin())
    closures = [closed[0], closed[len(closed) // 2], closed[-1]]
    return [NEAR + int(gap[inner].argmax()), half, *closures, narrow]


def mouths(
    path: Path, model: MouthModel, pcm: np.ndarray, frames: list[int]
) -> Iterator[np.ndarray]:
    """Yield the mouth of a picture at rest, and in frames of the sound that it speaks."""
    avatar = open_avatar(path)
    lips = LipSync(model, PreparedAvatar.prepare(avatar, model), model.timing(RATE, 25))
    images = [avatar.frames[0], *(frame.image for frame in [*lips.feed(pcm), *lips.flush()])]
    crop = avatar.crops[0]
    corners = HeadFrame.of_crop(crop).pixels(np.array([[-0.52, 0.5], [0.52, 0.5], [-0.52, 1.33]]))
    box = np.array([[0, 0], [WIDTH, 0], [0, HEIGHT]], np.float32)
    matrix = cv2.getAffineTransform(corners.astype(np.float32), box)
    for at in (0, *(1 + frame for frame in frames)):
        yield cv2.warpAffine(images[at], matrix, (WIDTH, HEIGHT), flags=cv2.INTER_AREA)


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description="Draw a sheet of people who speak.")
    parser.add_argument("pictures", type=Path, help="a folder")
    parser.add_argument("sound", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="of so many people take one")
    asked = parser.parse_args()
    pcm = read_speech(asked.sound)
    frames, rows, model = moments(pcm), [], MouthModel.open(backend="cpu", threads=1)
    people = sorted({path.stem[:3] for path in asked.pictures.glob("*_03.jpg")})
    for name in people[1 :: asked.every][:40]:
        for kind in ("03", "08"):
            try:
                row = np.concatenate(
                    [*mouths(asked.pictures / f"{name}_{kind}.jpg", model, pcm, frames)], 1
                )
            except LipstreamError as error:
                print(error)
                continue
            cv2.putText(row, f"{name} {kind}", (3, 12), 0, 0.4, (0, 0, 255), 1, cv2.LINE_AA)
            rows.append(row)
    rows += [np.zeros_like(rows[0])] * (-len(rows) % ACROSS)
    pairs = [np.concatenate(rows[at : at + ACROSS], 1) for at in range(0, len(rows), ACROSS)]
    cv2.imwrite(str(asked.output), np.concatenate(pairs), [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
