"""Files in and out: sound, pictures and films, all through PyAV.

Here belong containers, codecs, colours and rates, as any program with media needs them. What is in
the pictures, and what is to be said in them, nobody knows here.
"""

from lipstream.media.codecs import (
    DEFAULT_ENCODING,
    AudioCodec,
    Encoding,
    Quality,
    VideoCodec,
    check_film_name,
    resolve_encoding,
)
from lipstream.media.colour import Colours
from lipstream.media.film_reader import FilmReader
from lipstream.media.film_writer import (
    AudioTrack,
    FilmExtras,
    FilmFormat,
    PictureWriter,
    join_parts,
    playable_rate,
    write_growing,
)
from lipstream.media.pictures import is_picture, read_picture, shrunk
from lipstream.media.sound_files import Sound, SoundFile, SoundReader, has_sound

__all__ = [
    "DEFAULT_ENCODING",
    "AudioCodec",
    "AudioTrack",
    "Colours",
    "Encoding",
    "FilmExtras",
    "FilmFormat",
    "FilmReader",
    "PictureWriter",
    "Quality",
    "Sound",
    "SoundFile",
    "SoundReader",
    "VideoCodec",
    "check_film_name",
    "has_sound",
    "is_picture",
    "join_parts",
    "playable_rate",
    "read_picture",
    "resolve_encoding",
    "shrunk",
    "write_growing",
]
