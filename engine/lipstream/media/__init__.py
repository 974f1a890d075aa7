"""Files in and out: sound, pictures and films, all through PyAV."""

from lipstream.media.codecs import (
    BY_NAME,
    AudioCodec,
    Encoding,
    Quality,
    VideoCodec,
    check_film_name,
    settled,
)
from lipstream.media.film_reader import Film
from lipstream.media.film_writer import (
    FilmFormat,
    PictureWriter,
    SoundTrack,
    join_parts,
    playable_rate,
)
from lipstream.media.pictures import is_picture, read_picture
from lipstream.media.sound_files import Sound, SoundFile, SoundReader, has_sound

__all__ = [
    "BY_NAME",
    "AudioCodec",
    "Encoding",
    "Film",
    "FilmFormat",
    "PictureWriter",
    "Quality",
    "Sound",
    "SoundFile",
    "SoundReader",
    "SoundTrack",
    "VideoCodec",
    "check_film_name",
    "has_sound",
    "is_picture",
    "join_parts",
    "playable_rate",
    "read_picture",
    "settled",
]
