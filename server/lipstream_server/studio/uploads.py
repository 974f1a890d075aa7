"""Files that come in: streamed to disk within the limits, looked into, kept or thrown away."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from lipstream.errors import InputError
from lipstream.storage.atomic_files import written_whole
from lipstream_server.studio.errors import TooLarge, check_room
from lipstream_server.studio.file_names import known_suffix, shown_name
from lipstream_server.studio.folder import New, write_json
from lipstream_server.studio.records import Media
from lipstream_server.studio.settings import StudioConfig
from lipstream_server.studio.store import Store
from lipstream_server.studio.subprocess_client import ChildEnded, ask_child

Use = Literal["face", "sound"]
LOOK_SECONDS = 300.0
"""How long looking into a file may take."""
_TEXT_NAME = 48
_WRITE_BYTES = 1_000_000
_AT_ONCE = 2
"""Files looked into at the same time."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file that a visitor sends."""

    use: Use
    name: str
    """As the visitor calls it."""
    length: int | None
    """Bytes, when that is known before."""
    content: AsyncIterator[bytes]


class Reception:
    """Takes in files and texts. The event loop's."""

    def __init__(self, store: Store, config: StudioConfig) -> None:
        self._store, self._config = store, config
        self._looking = asyncio.Semaphore(_AT_ONCE)
        self._painting = asyncio.Lock()
        self._voices: list[dict[str, str]] = []

    async def take(self, incoming: Incoming) -> Media:
        """Take in a face or a sound.

        Raises TooLarge, DiskFull, or InputError in the visitor's words; then nothing is kept.
        """
        limits = self._config.limits
        self._check_size(incoming.length or 0)
        self._store.folder.open()
        check_room(self._store.folder.path, incoming.length or 0, limits.reserve_bytes)
        with self._store.folder.new("media") as new:
            path = new.place / f"media{known_suffix(incoming.name)}"
            await self._write(incoming.content, path)
            name = shown_name(incoming.name, "file")
            order = {"do": incoming.use, "file": str(path), "longest_s": limits.film_seconds}
            size = path.stat().st_size
            media = await self._keep(new, order, name)
            self._store.counts.received_bytes += size
            return media

    async def say(self, text: str, voice: str | None, speed: float) -> Media:
        """Have a text spoken and take in the sound. Raises as ``take``."""
        limits = self._config.limits
        if len(text) > limits.text_characters:
            raise InputError(
                f"the text has {len(text)} characters: give {limits.text_characters} at most"
            )
        self._store.folder.open()
        check_room(self._store.folder.path, 0, limits.reserve_bytes)
        with self._store.folder.new("media") as new:
            settings = replace(self._config.speech, voice=voice, speed=speed)
            order = {
                "do": "speak",
                "text": text,
                "speech": asdict(settings),
                "file": str(new.place / "media.wav"),
                "longest_s": limits.film_seconds,
            }
            words = " ".join(text.split())
            short = words if len(words) <= _TEXT_NAME else words[: _TEXT_NAME - 1] + "…"
            return await self._keep(new, order, shown_name(short.replace("/", " "), "speech"))

    async def voices(self) -> list[dict[str, str]]:
        """Return the voices for typed text, found once. Raises InputError when there are none."""
        if not self._voices:
            order = {"do": "voices", "speech": asdict(self._config.speech)}
            said = await ask_child(order, limit_s=LOOK_SECONDS)
            self._voices = said["voices"]
        return self._voices

    async def avatar_picture(self, name: str) -> Path:
        """Return the picture of an embedded avatar, made when it is first asked for."""
        self._store.folder.open()
        path = self._store.folder.path / "avatars" / f"{name}.jpg"
        async with self._painting:
            if not path.exists():
                with written_whole(path) as unfinished:
                    order = {"do": "avatar", "name": name, "file": str(unfinished)}
                    await ask_child(order, limit_s=LOOK_SECONDS)
        return path

    async def _keep(self, new: New, order: Mapping[str, Any], name: str) -> Media:
        file = Path(order["file"]).name
        try:
            async with self._looking:
                found = await ask_child(order, limit_s=LOOK_SECONDS)
        except ChildEnded as error:
            raise InputError(f"{name} cannot be read: it is damaged, or too much for us") from error
        except InputError as error:
            raise InputError(str(error).replace(file, name)) from error
        written = {"id": new.id, "name": name, "file": file, "kept": self._store.now()}
        media = Media.from_json({"fps": "25"} | found | written)
        write_json(new.place / "media.json", media.to_json())
        new.keep()
        self._store.add_media(media)
        return media

    async def _write(self, content: AsyncIterator[bytes], path: Path) -> None:
        """Write what comes, on a thread, since a disk may take its time."""
        held, size = bytearray(), 0
        with path.open("wb") as opened:
            async for piece in content:
                size += len(piece)
                self._check_size(size)
                held += piece
                if len(held) >= _WRITE_BYTES:
                    await asyncio.to_thread(_write_all, opened, bytes(held))
                    held.clear()
            await asyncio.to_thread(_write_all, opened, bytes(held))

    def _check_size(self, size: int) -> None:
        limits = self._config.limits
        if size > limits.upload_bytes:
            raise TooLarge(
                f"the file is larger than {limits.upload_mb} MB, the most that is taken here:"
                " make it shorter or compress it more"
            )


def _write_all(opened: BinaryIO, held: bytes) -> None:
    opened.write(held)
    opened.flush()
