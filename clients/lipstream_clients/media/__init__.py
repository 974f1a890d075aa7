"""Files in and out: sound, pictures and films, all through PyAV."""

from lipstream_clients.media.film import Film
from lipstream_clients.media.picture import is_picture, read_picture
from lipstream_clients.media.sound import SoundFile
from lipstream_clients.media.writer import FilmFormat, FilmWriter, check_film_name, playable_rate

__all__ = [
    "Film",
    "FilmFormat",
    "FilmWriter",
    "SoundFile",
    "check_film_name",
    "is_picture",
    "playable_rate",
    "read_picture",
]
