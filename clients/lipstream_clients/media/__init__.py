"""Files in and out: sound, pictures and films, all through PyAV."""

from lipstream_clients.media.codecs import (
    BY_NAME,
    AudioCodec,
    Encoding,
    Quality,
    VideoCodec,
    check_film_name,
    settled,
)
from lipstream_clients.media.film import Film
from lipstream_clients.media.joining import SoundTrack, join_parts, playable_rate
from lipstream_clients.media.picture import is_picture, read_picture
from lipstream_clients.media.sound import SoundFile, has_sound
from lipstream_clients.media.sound_reader import Sound, SoundReader
from lipstream_clients.media.writer import FilmFormat, PictureWriter

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
