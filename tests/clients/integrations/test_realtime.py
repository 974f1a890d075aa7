"""The bridge to OpenAI Realtime, against a WebSocket server with a script."""

import asyncio
import base64
import json
import time
from contextlib import asynccontextmanager

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from lipstream.live.playout import ShownPicture, SoundBlock
from lipstream_clients.integrations.realtime import RealtimeBridge

RATE = 24_000


def speech(seconds, rate=RATE):
    wave = np.sin(np.arange(int(seconds * rate)) * 0.13) * 9000
    return np.where(wave < 0, wave - 500, wave + 500).astype("<i2")


class Session:
    """The other end: what the script sends, and what it is told."""

    def __init__(self, socket):
        self.socket, self.told = socket, []

    async def read(self):
        async for message in self.socket:
            self.told.append(json.loads(message))

    async def send(self, kind, **fields):
        await self.socket.send(json.dumps({"type": kind, "event_id": "e", **fields}))

    async def say(self, item, pcm, preview=False):
        kind = "response.audio" if preview else "response.output_audio"
        place = {"response_id": "r", "item_id": item, "output_index": 0, "content_index": 0}
        for at in range(0, len(pcm), 4800):
            delta = base64.b64encode(pcm[at : at + 4800].tobytes()).decode()
            await self.send(f"{kind}.delta", **place, delta=delta)
        return f"{kind}.done", place


class Receiver:
    """What comes out of the bridge."""

    def __init__(self):
        self.sound, self.pictures, self.ended = [], 0, []

    def take(self, item):
        if isinstance(item, SoundBlock):
            self.sound.append((time.monotonic(), np.count_nonzero(item.pcm)))
        elif isinstance(item, ShownPicture):
            self.pictures += 1
        elif item.kind == "ended":
            self.ended.append(item)

    def heard_ms(self, since=0.0, until=1e12):
        return sum(count for at, count in self.sound if since <= at <= until) / 48


def run(engine, script):
    """Run ``script(session, receiver)`` at the other end of a socket."""

    async def main():
        done = asyncio.Event()
        receiver = Receiver()

        async def at_the_other_end(socket):
            session = Session(socket)
            reading = asyncio.create_task(session.read())
            try:
                await script(session, receiver)
            finally:
                reading.cancel()
                done.set()

        async with bridged(engine, at_the_other_end, receiver), asyncio.timeout(30):
            await done.wait()

    asyncio.run(main())


@asynccontextmanager
async def bridged(engine, script, receiver):
    conversation = engine.converse()
    failures = []

    async def checked(socket):
        try:
            await script(socket)
        except BaseException as error:
            failures.append(error)
            raise

    async with serve(checked, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}") as socket:
            bridge = RealtimeBridge(conversation, socket.send)

            async def show():
                async for item in bridge.output():
                    receiver.take(item)

            tasks = [asyncio.create_task(show()), asyncio.create_task(bridge.listen(socket))]
            try:
                yield bridge
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                conversation.close()
    if failures:
        raise failures[0]


async def until(what):
    async with asyncio.timeout(15):
        while not what():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("preview", [False, True])
def test_what_the_session_says_is_heard_whole(engine, preview):
    async def script(session, receiver):
        done, place = await session.say("item_1", speech(0.6), preview)
        await session.send(done, **place)
        await until(lambda: receiver.ended)
        assert receiver.ended[0].utterance == "item_1"
        assert receiver.heard_ms() == pytest.approx(600, abs=1)
        assert receiver.pictures > 5
        assert session.told == []

    run(engine, script)


@pytest.mark.slow
@pytest.mark.parametrize("heard_ms", [150, 500, 900])
def test_an_interruption_tells_how_much_was_heard(engine, heard_ms):
    async def script(session, receiver):
        await session.say("item_1", speech(3.0))
        await until(lambda: receiver.heard_ms() >= heard_ms)
        await session.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
        await until(lambda: session.told)
        stopped = time.monotonic()
        (told,) = session.told
        assert told["type"] == "conversation.item.truncate"
        assert (told["item_id"], told["content_index"]) == ("item_1", 0)
        assert told["audio_end_ms"] == pytest.approx(receiver.heard_ms(until=stopped), abs=40)
        await asyncio.sleep(0.2)
        assert receiver.heard_ms(since=stopped + 0.05) == 0

    run(engine, script)


@pytest.mark.slow
def test_what_is_still_sent_of_an_interrupted_item_is_dropped_and_the_next_is_heard(engine):
    async def script(session, receiver):
        done, place = await session.say("item_1", speech(1.0))
        await until(lambda: receiver.heard_ms() > 100)
        await session.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
        await session.say("item_1", speech(1.0))
        await session.send(done, **place)
        await until(lambda: session.told)
        again = time.monotonic() + 0.05
        done, place = await session.say("item_2", speech(0.3))
        await session.send(done, **place)
        await until(lambda: receiver.ended)
        assert [one.utterance for one in receiver.ended] == ["item_2"]
        assert receiver.heard_ms(since=again) == pytest.approx(300, abs=1)
        assert len(session.told) == 1

    run(engine, script)


@pytest.mark.slow
def test_items_that_wait_were_not_heard_at_all(engine):
    async def script(session, receiver):
        for item in ("item_1", "item_2"):
            done, place = await session.say(item, speech(1.0))
            await session.send(done, **place)
        await until(lambda: receiver.heard_ms() > 200)
        await session.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
        await until(lambda: len(session.told) == 2)
        ends = {told["item_id"]: told["audio_end_ms"] for told in session.told}
        assert ends["item_1"] >= 200
        assert ends["item_2"] == 0

    run(engine, script)


@pytest.mark.slow
def test_nothing_is_truncated_when_nothing_is_said(engine):
    async def script(session, receiver):
        await session.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
        done, place = await session.say("item_1", speech(0.2))
        await session.send(done, **place)
        await until(lambda: receiver.ended)
        await session.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
        await asyncio.sleep(0.2)
        assert session.told == []

    run(engine, script)


@pytest.mark.slow
def test_bad_events_are_named_and_the_voice_goes_on(engine, caplog):
    async def script(session, receiver):
        await session.socket.send("no JSON")
        await session.socket.send("[1]")
        await session.send("response.output_audio.delta", item_id="x", delta="no base 64!")
        await session.send(
            "response.output_audio.delta", item_id="x", delta="QQ=="
        )  # half a sample
        await session.send("error", error={"message": "your quota is used up"})
        wrong = {"audio": {"output": {"format": {"type": "audio/pcmu"}}}}
        await session.send("session.updated", session=wrong)
        right = {"audio": {"output": {"format": {"type": "audio/pcm", "rate": 16_000}}}}
        await session.send("session.updated", session=right)
        done, place = await session.say("item_1", speech(0.3, 16_000))
        await session.send(done, **place)
        await until(lambda: receiver.ended)
        assert receiver.heard_ms() == pytest.approx(300, abs=5)

    run(engine, script)
    assert "your quota is used up" in caplog.text
    assert "comes as audio/pcmu" in caplog.text
    assert caplog.text.count("is left out") == 5
