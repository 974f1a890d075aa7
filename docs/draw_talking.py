"""Draw ``talking.webp``: the embedded avatars say one sentence, as ``lipstream render`` has them.

Run it after a change to the mouth: ``python docs/draw_talking.py``. It needs espeak-ng.
"""

import sys
import tempfile
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lipstream.film.job import RenderJob
from lipstream.film.render import render

TEXT = "Sound goes in, and a talking face comes out. Pictures become people, by voice alone."
AVATARS = ("mei", "omar", "ada")
SIDE, FPS = 256, 25
QUALITY = 62
FACE = ((0.14, 0.80), (0.17, 0.83))


def frames_of(avatar: str, folder: Path) -> list[NDArray[np.uint8]]:
    """Return (SIDE, SIDE, 3) uint8 BGR pictures of an avatar that says TEXT."""
    film = folder / f"{avatar}.mp4"
    render(RenderJob(Path(avatar), None, film, text=TEXT))
    with av.open(str(film)) as opened:
        pictures = [frame.to_ndarray(format="bgr24") for frame in opened.decode(video=0)]
    side = min(pictures[0].shape[:2])
    rows, columns = (slice(round(a * side), round(b * side)) for a, b in FACE)
    faces = [
        cv2.resize(picture[rows, columns], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        for picture in pictures
    ]
    return [np.asarray(face, np.uint8) for face in faces]


def main() -> None:
    """Render, put side by side, and write."""
    target = Path(__file__).with_name("talking.webp")
    with tempfile.TemporaryDirectory() as folder:
        columns = [frames_of(avatar, Path(folder)) for avatar in AVATARS]
    rows = [np.concatenate(row, 1) for row in zip(*columns, strict=False)]
    pictures = [Image.fromarray(np.ascontiguousarray(row[..., ::-1])) for row in rows]
    pictures[0].save(
        target,
        save_all=True,
        append_images=pictures[1:],
        duration=1000 // FPS,
        loop=0,
        quality=QUALITY,
        method=6,
        kmax=1,  # whole pictures: where only parts are written, their seams cross the faces
    )
    sys.stdout.write(f"drew {target}: {target.stat().st_size / 1e6:.2f} MB, {len(rows)} frames\n")


if __name__ == "__main__":
    main()
