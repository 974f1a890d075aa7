"""Pictures, sounds and films changed at random: read, or refused in one line."""

from contextlib import suppress

import cv2
import numpy as np
import pytest

from fuzzing import COUNT, SEED, mutated_bytes, seeds
from lipstream.errors import MediaError
from lipstream.media.film_reader import FilmReader
from lipstream.media.pictures import is_picture, read_picture
from lipstream.media.sound_files import SoundFile, has_sound
from media_files import numbered, tone, write_film, write_wav

SVG = b"""<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="64" height="64">
<rect width="64" height="64"/></svg>"""


def read_all(path) -> None:
    """Read a file in every way there is."""
    for read in (
        lambda: is_picture(path) and read_picture(path),
        lambda: list(FilmReader(path).pictures()),
        lambda: has_sound(path) and list(SoundFile.open(path).blocks(16_000, 4096)),
    ):
        with suppress(MediaError):
            read()


@pytest.mark.parametrize("suffix", ["svg", "png", "mp4", "jpg"])
def test_a_drawing_is_refused_whatever_it_is_called(tmp_path, suffix):
    path = tmp_path / f"drawing.{suffix}"
    path.write_bytes(SVG)
    read_all(path)
    with pytest.raises(MediaError):
        FilmReader(path)


@pytest.mark.parametrize("suffix", ["wav", "png", "jpg", "mp4", "mkv"])
def test_fuzzed_media_are_read_or_refused(tmp_path, suffix):
    path = tmp_path / f"base.{suffix}"
    if suffix == "wav":
        write_wav(path, tone(8000, 1600), 8000)
    elif suffix in ("mp4", "mkv"):
        write_film(path, numbered(6))
    else:
        picture = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
        path.write_bytes(cv2.imencode(f".{suffix}", picture)[1].tobytes())
    held = path.read_bytes()
    for place, chance in enumerate(seeds(COUNT // 6, SEED)):
        changed = tmp_path / f"{place}.{suffix}"
        changed.write_bytes(mutated_bytes(held, chance))
        read_all(changed)
        changed.unlink()
