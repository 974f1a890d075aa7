"""Files that come in: streamed to disk within the limits, looked into, kept or thrown away."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from lipstream.errors import InputError
from lipstream.storage import atomic_write
from lipstream_server.config import StudioConfig
from lipstream_server.studio.errors import Claim, TooLarge
from lipstream_server.studio.orders import SpeechMessage
from lipstream_server.studio.records import Media, display_name, safe_suffix
from lipstream_server.studio.runner import SubprocessDied, run_in_subprocess
from lipstream_server.studio.store import PRIVATE_FILE, NewFolder, Store, write_json

Use = Literal["face", "sound"]
INSPECTION_SECONDS = 300.0
"""How long the inspection of a file may take."""
_TEXT_NAME = 48
_WRITE_BYTES = 1_000_000
_AT_ONCE = 2
"""Files inspected at the same time."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a visitor sends."""

    use: Use
    name: str
    """As the visitor calls it."""
    length: int | None
    """Bytes, when that is known before."""
    content: AsyncIterator[bytes]


class Uploads:
    """Receives files, and texts to be spoken. The event loop's."""

    def __init__(self, store: Store, config: StudioConfig) -> None:
        self._store, self._config = store, config
        self._inspecting = asyncio.Semaphore(_AT_ONCE)
        self._drawing = asyncio.Lock()
        self._voices: list[dict[str, str]] = []

    async def receive(self, upload: Upload) -> Media:
        """Take in a face or a sound.

        Raises TooLarge, DiskFull, or InputError in the visitor's words; then nothing is kept.
        """
        limits = self._config.limits
        self._check_size(upload.length or 0)
        self._store.folder.open()
        space = self._store.space
        with self._store.folder.new("media") as new:
            path = new.path / f"media{safe_suffix(upload.name)}"
            async with space.claim(upload.length or 0) as claim:
                await self._write(upload.content, path, claim)
            name = display_name(upload.name, "file")
            request = {"task": upload.use, "file": str(path), "longest_s": limits.film_seconds}
            size = path.stat().st_size
            media = await self._inspect(new, request, name)
            self._store.metrics.received_bytes.inc(size)
            return media

    async def synthesize(self, message: SpeechMessage) -> Media:
        """Have a text spoken and take in the sound. Raises as ``receive``."""
        limits, text = self._config.limits, message.text
        if len(text) > limits.text_characters:
            raise InputError(
                f"the text has {len(text)} characters: give {limits.text_characters} at most"
            )
        self._store.folder.open()
        await self._store.space.measure()
        self._store.space.check()
        with self._store.folder.new("media") as new:
            settings = replace(self._config.speech, voice=message.voice, speed=message.speed)
            request = {
                "task": "speak",
                "text": text,
                "speech": asdict(settings),
                "file": str(new.path / "media.wav"),
                "longest_s": limits.film_seconds,
            }
            words = " ".join(text.split())
            short = words if len(words) <= _TEXT_NAME else words[: _TEXT_NAME - 1] + "…"
            return await self._inspect(
                new, request, display_name(short.replace("/", " "), "speech")
            )

    async def voices(self) -> list[dict[str, str]]:
        """Return the voices for typed text, found once. Raises InputError when there are none."""
        if not self._voices:
            request = {"task": "voices", "speech": asdict(self._config.speech)}
            answer = await run_in_subprocess(request, limit_s=INSPECTION_SECONDS)
            self._voices = answer["voices"]
        return self._voices

    async def avatar_picture(self, name: str) -> Path:
        """Return the picture of an embedded avatar, made when it is first asked for."""
        self._store.folder.open()
        path = self._store.folder.path / "avatars" / f"{name}.jpg"
        async with self._drawing:
            if not path.exists():
                with atomic_write(path) as unfinished:
                    request = {"task": "avatar", "name": name, "file": str(unfinished)}
                    await run_in_subprocess(request, limit_s=INSPECTION_SECONDS)
        return path

    async def _inspect(self, new: NewFolder, request: Mapping[str, Any], name: str) -> Media:
        file = Path(request["file"]).name
        try:
            async with self._inspecting:
                inspected = await run_in_subprocess(request, limit_s=INSPECTION_SECONDS)
        except SubprocessDied as error:
            raise InputError(f"{name} cannot be read: it is damaged, or too much for us") from error
        except InputError as error:
            raise InputError(str(error).replace(file, name)) from error
        record = {"id": new.id, "name": name, "file": file, "kept": self._store.now()}
        media = Media.from_json({"fps": "25"} | inspected | record)
        write_json(new.path / "media.json", media.to_json())
        new.keep()
        self._store.add_media(media)
        return media

    async def _write(self, content: AsyncIterator[bytes], path: Path, claim: Claim) -> None:
        """Write what comes, on a thread, since a disk may take its time."""
        held, size = bytearray(), 0
        path.touch(PRIVATE_FILE)
        with path.open("wb") as opened:
            async for piece in content:
                size += len(piece)
                self._check_size(size)
                held += piece
                if len(held) >= _WRITE_BYTES:
                    await asyncio.to_thread(_write_all, opened, bytes(held))
                    claim.wrote(len(held))
                    held.clear()
            await asyncio.to_thread(_write_all, opened, bytes(held))
            claim.wrote(len(held))

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
