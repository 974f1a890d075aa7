"""Take part in a stage from Python, as a voice agent's backend does: docs/live-api.md.

async with StageClient("http://127.0.0.1:8080", "hall") as stage:
    await stage.say(pcm, 24_000, "a")
    async for event in stage: ...
"""

import json
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import numpy as np
from numpy.typing import ArrayLike
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, InvalidURI, WebSocketException

from lipstream.audio.resampler import to_pcm
from lipstream.errors import InputError, ServerError

_PIECE_SAMPLES = 48_000
"""Samples sent in one message: well below a megabyte."""


class StageClient:
    """One member of a stage, over a WebSocket. Iterate to be told events, as dicts."""

    def __init__(self, server: str, stage: str, *, token: str | None = None) -> None:
        """``server`` is an address, ``https://host``; ``token`` its own or one of the stage."""
        self._server = server
        self._url = f"{server.rstrip('/').replace('http', 'ws', 1)}/stages/{quote(stage)}/speech"
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._socket: ClientConnection | None = None

    async def open(self) -> None:
        """Join. Raises InputError when the server refuses, ServerError when it is not there."""
        try:
            self._socket = await connect(self._url, additional_headers=self._headers)
        except InvalidStatus as error:
            body = (error.response.body or b"{}").decode("utf-8", "replace")
            raise InputError(f"HTTP {error.response.status_code}: {_error_of(body)}") from error
        except InvalidURI as error:
            raise InputError(
                f"{self._server} is no server's address: give http://HOST:PORT or https://HOST"
            ) from error
        except (OSError, WebSocketException) as error:
            raise ServerError(f"{self._url} cannot be reached: {error}") from error

    async def close(self) -> None:
        """Leave; what was pushed is still said. Closing twice is fine."""
        if self._socket is not None:
            await self._socket.close()

    async def begin(self, rate: int, name: str | int | None = None) -> None:
        """Begin an utterance of sound at ``rate``."""
        await self.tell({"type": "begin", "rate": rate, "id": name})

    async def push(self, pcm: ArrayLike) -> None:
        """Add mono sound to it: int16, bytes of it, or floats from -1 to 1; any length."""
        samples = to_pcm(pcm)
        for at in range(0, len(samples), _PIECE_SAMPLES):
            piece = samples[at : at + _PIECE_SAMPLES]
            await self._open_socket.send(np.asarray(piece, "<i2").tobytes())

    async def end(self) -> None:
        """Say that the utterance is complete."""
        await self.tell({"type": "end"})

    async def say(self, pcm: ArrayLike, rate: int, name: str | int | None = None) -> None:
        """Push an utterance whole; it is said when those before have been."""
        await self.begin(rate, name)
        await self.push(pcm)
        await self.end()

    async def speak(
        self, text: str, voice: str | None = None, name: str | int | None = None
    ) -> None:
        """Have a text spoken."""
        await self.tell({"type": "speak", "text": text, "voice": voice, "id": name})

    async def interrupt(self) -> None:
        """Silence what is said and forget what waits; ``interrupted`` tells what was heard."""
        await self.tell({"type": "interrupt"})

    async def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message of the contract."""
        await self._open_socket.send(json.dumps(message))

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        async for event in self._open_socket:
            yield json.loads(event)

    @property
    def _open_socket(self) -> ClientConnection:
        if self._socket is None:
            raise InputError("this StageClient is not open: use it with `async with`")
        return self._socket

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _error_of(body: str) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return "the server refused"
