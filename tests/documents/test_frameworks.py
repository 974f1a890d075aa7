"""What ``docs/frameworks.md`` shows of each framework runs as it stands there.

That of Pipecat where Pipecat is: ``tests/clients/integrations/test_pipecat.py``.
"""

import asyncio
import base64
import json

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from documents.markdown import Block, blocks, run_python
from lipstream import MouthModel, Worker
from lipstream.live.playout import SoundBlock
from lipstream_clients.integrations import AvatarEngine
from media_files import tone


def block_with(word: str) -> Block:
    (found,) = [one for one in blocks("python", of="docs/frameworks.md") if word in one.text]
    return found


@pytest.fixture
def engine(toy_folder, toy_avatar):
    worker = Worker(MouthModel.open(toy_folder, threads=1), capacity=1)
    worker.prepare(toy_avatar)
    with AvatarEngine(worker, toy_avatar) as opened:
        yield opened


@pytest.mark.slow
def test_an_engine_is_opened_for_several_conversations():
    given = asyncio.run(run_python(block_with("AvatarEngine.open"), {}))
    engine = given["engine"]
    assert isinstance(engine, AvatarEngine)
    with engine:
        for _ in range(4):
            engine.converse()


@pytest.mark.slow
def test_a_session_of_livekit_speaks_through_the_avatar(engine):
    rtc = pytest.importorskip("livekit.rtc", reason="pip install 'lipstream[livekit]'")
    livekit = pytest.importorskip("livekit.agents", reason="pip install 'lipstream[livekit]'")

    from clients.integrations.livekit_room import Room  # noqa: PLC0415  needs the same

    async def spoken():
        pcm = tone(24_000, 12_000)
        yield rtc.AudioFrame(pcm.tobytes(), 24_000, 1, len(pcm))

    class Job:
        room = Room()

    async def run():
        nothing = dict.fromkeys(("stt", "llm", "tts"), livekit.NOT_GIVEN)
        given = {"engine": engine, "ctx": Job, "agent": livekit.Agent(instructions="Be kind.")}
        session = (await run_python(block_with("AgentSession"), given | nothing))["session"]
        told = []
        session.output.audio.on("playback_finished", told.append)
        async with asyncio.timeout(60):
            await session.say("Hello.", audio=spoken())
        await session.aclose()
        return told

    (finished,) = asyncio.run(run())
    assert finished.playback_position == pytest.approx(0.5, abs=0.03)


def test_a_session_of_openai_realtime_is_spoken_and_told_what_was_heard(engine):
    told, played = [], []

    async def session(socket):
        delta = base64.b64encode(tone(24_000, 96_000).astype("<i2").tobytes()).decode()
        said = {"type": "response.output_audio.delta", "item_id": "item_1", "content_index": 0}
        await socket.send(json.dumps(said | {"delta": delta}))
        while not any(np.abs(one.pcm).max() > 1000 for one in list(played)):
            await asyncio.sleep(0.02)
        await socket.send(json.dumps({"type": "input_audio_buffer.speech_started"}))
        async for message in socket:
            told.append(json.loads(message))

    def play(item):
        if isinstance(item, SoundBlock):
            played.append(item)

    async def run():
        async with (
            asyncio.timeout(60),
            serve(session, "127.0.0.1", 0) as server,
            connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}") as socket,
        ):
            given = {"asyncio": asyncio, "engine": engine, "socket": socket, "play": play}
            running = asyncio.create_task(run_python(block_with("RealtimeBridge"), given))
            while not told:
                await asyncio.sleep(0.02)
            running.cancel()
            given["listening"].cancel()

    asyncio.run(run())
    assert told[0]["type"] == "conversation.item.truncate"
    assert 0 < told[0]["audio_end_ms"] < 4000
