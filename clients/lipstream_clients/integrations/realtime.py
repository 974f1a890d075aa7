"""OpenAI Realtime: what a session says is said by an avatar, and the session knows what was heard.

It needs no package; who has the socket gives it what comes and sends what it says::

    async with connect("wss://api.openai.com/v1/realtime?model=gpt-realtime", ...) as socket:
        bridge = RealtimeBridge(engine.converse(), socket.send)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bridge.listen(socket))
            async for item in bridge.output():     # ShownPicture, SoundBlock, ConversationEvent
                ...

Each item of the session is an utterance of that name. When the user begins to speak the avatar
falls silent, what is still sent of its items is dropped, and ``conversation.item.truncate`` says
how many milliseconds of each were heard: the model then knows of no word that nobody heard. Names
of events are those of the general release and of the preview before it.
"""

import base64
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import Any

import numpy as np

from lipstream.errors import InputError
from lipstream.live.conversation import Conversation, ConversationEvent, Output
from lipstream_clients.integrations import fall_due

log = logging.getLogger(__name__)

_DELTAS = ("response.output_audio.delta", "response.audio.delta")
_DONE = ("response.output_audio.done", "response.audio.done")
_REMEMBERED = 100
"""Items whose place or end is kept in mind; the oldest goes."""


class RealtimeBridge:
    """See the module. One event loop's."""

    def __init__(self, conversation: Conversation, send: Callable[[str], Awaitable[None]]) -> None:
        """``send`` sends a text to the session: a WebSocket's ``send``."""
        self._conversation, self._send = conversation, send
        self.rate = 24_000
        """Samples a second of the session's sound, as it tells itself."""
        self._open: str | None = None
        self._content: OrderedDict[str, int] = OrderedDict()
        self._dropped: OrderedDict[str, None] = OrderedDict()

    async def listen(self, messages: AsyncIterable[str | bytes]) -> None:
        """Take what the session sends until it ends: a WebSocket is such an iterable."""
        async for message in messages:
            self.receive(message)

    def receive(self, message: str | bytes) -> None:
        """Take one event of the session; what is not about its voice is left to others."""
        try:
            event = json.loads(message)
            kind = event["type"]
            if kind in _DELTAS:
                self._say(event)
            elif kind in _DONE and event["item_id"] == self._open:
                self._open = None
                self._conversation.end_of_speech()
            elif kind == "input_audio_buffer.speech_started":
                self.interrupt()
            elif kind in ("session.created", "session.updated"):
                self._follow_format(event["session"])
            elif kind == "error":
                log.error("the session says: %s", event["error"].get("message", "an error"))
        except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
            log.warning("an event of the session is left out: %s", error)

    def interrupt(self) -> None:
        """Fall silent, as when the user begins to speak; what was heard is sent by ``output``."""
        if self._open is not None:
            _remember(self._dropped, self._open, None)
        self._open = None
        self._conversation.interrupt()

    async def output(self) -> AsyncGenerator[Output]:
        """Yield pictures and sound as they fall due, for as long as the conversation is open.

        Raises EngineFailed, and what ``send`` raises.
        """
        async for item in fall_due(self._conversation):
            if isinstance(item, ConversationEvent) and item.kind == "interrupted":
                await self._truncate(item)
            yield item

    def _say(self, event: dict[str, Any]) -> None:
        item = str(event["item_id"])
        if item in self._dropped:
            return
        pcm = np.frombuffer(base64.b64decode(event["delta"], validate=True), "<i2")
        if item != self._open:
            self._conversation.begin(item)
            self._open = item
            _remember(self._content, item, int(event.get("content_index", 0)))
        self._conversation.push(pcm.astype(np.int16), self.rate)

    async def _truncate(self, event: ConversationEvent) -> None:
        item = str(event.utterance)
        _remember(self._dropped, item, None)
        if item in self._content:
            told = {
                "type": "conversation.item.truncate",
                "item_id": item,
                "content_index": self._content.pop(item),
                "audio_end_ms": int(event.heard_ms),
            }
            await self._send(json.dumps(told))

    def _follow_format(self, session: dict[str, Any]) -> None:
        form = session.get("audio", {}).get("output", {}).get("format") or {}
        preview = session.get("output_audio_format", "pcm16")
        if form.get("type", "audio/pcm") != "audio/pcm" or preview != "pcm16":
            named = form.get("type", preview)
            raise InputError(f"the session's voice comes as {named}: set its format to audio/pcm")
        self.rate = int(form.get("rate", 24_000))


def _remember(entries: "OrderedDict[str, Any]", item: str, value: Any) -> None:
    entries[item] = value
    while len(entries) > _REMEMBERED:
        entries.popitem(last=False)
