"""Every example runs: what it talks to is real where that can be had, and scripted elsewhere."""

import asyncio
import base64
import json
import os
import shutil
import sys

import av
import numpy as np
import pytest
from websockets.asyncio.server import serve

from lipstream import MouthModel, Worker
from lipstream_server.config import OutputConfig
from media_files import tone
from server.peers import running
from source_tree import ROOT

EXAMPLES = ROOT / "examples"
needs_voice = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="no espeak-ng: apt install espeak-ng"
)


async def run_example(name, *words, **environment):
    """Run an example as a user does; return its exit code and what it complains of."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / name),
        *words,
        env=os.environ | environment,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(90):
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, errors.decode()


def test_every_example_is_run_here():
    """The bot by ``tests/browser/test_pipecat.py``, in an environment of its own."""
    named = {"livekit_agent.py", "livekit_worker.py", "openai_realtime.py", "broadcast.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == named | {"pipecat_bot.py"}


def test_every_example_says_how_it_is_started():
    for path in EXAMPLES.glob("*.py"):
        assert f"examples/{path.name}" in path.read_text("utf-8").partition('"""\n\n')[0]


@pytest.mark.slow
@needs_voice
def test_a_stage_is_spoken_on_and_recorded(tmp_path, toy_folder, toy_avatar):
    async def run(worker):
        recordings = OutputConfig(recordings=tmp_path)
        async with running(worker, toy_avatar, outputs=recordings) as server:
            words = ["Good evening.", "--record", "evening.mkv", "--server", server.url]
            assert await run_example("broadcast.py", *words) == (0, "")
            code, complaint = await run_example("broadcast.py", *words)
            assert code == 1
            assert "exists already" in complaint

    with Worker(MouthModel.open(toy_folder, threads=1)) as worker:
        worker.prepare(toy_avatar)
        asyncio.run(run(worker))
    with av.open(str(tmp_path / "evening.mkv")) as recording:
        sound = np.concatenate(
            [frame.to_ndarray().reshape(-1) for frame in recording.decode(audio=0)]
        )
    assert np.abs(sound).max() > 0.05


@pytest.mark.slow
def test_an_answer_of_openai_realtime_is_shown():
    asked = []

    async def session(socket):
        async for message in socket:
            asked.append(json.loads(message))
            if asked[-1]["type"] == "response.create":
                pcm = tone(24_000, 12_000).astype("<i2").tobytes()
                place = {"item_id": "item_1", "content_index": 0}
                delta = base64.b64encode(pcm).decode()
                told = {"type": "response.output_audio.delta", "delta": delta, **place}
                await socket.send(json.dumps(told))
                await socket.send(json.dumps({"type": "response.output_audio.done", **place}))

    async def run():
        async with serve(session, "127.0.0.1", 0) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            words = ["Who are you?", "--url", url, "--no-sound"]
            return await run_example("openai_realtime.py", *words, SDL_VIDEODRIVER="dummy")

    assert asyncio.run(run()) == (0, "")
    assert asked[0]["item"]["content"][0]["text"] == "Who are you?"
