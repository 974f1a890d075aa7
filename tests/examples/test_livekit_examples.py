"""The examples for LiveKit: all of them but the room, which cannot be had without a server."""

import asyncio
import importlib.util
import shutil
import signal
import subprocess
import sys

import pytest

from lipstream import MouthModel, Worker
from lipstream_clients.integrations import AvatarEngine
from source_tree import ROOT

pytest.importorskip("livekit.agents", reason="pip install 'lipstream[livekit]'")
from livekit.agents import Agent, AgentSession

from clients.integrations.livekit_room import Room

EXAMPLES = ROOT / "examples"


def load(name):
    """Import an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="no espeak-ng: apt install espeak-ng")
def test_an_agent_of_livekit_greets_through_its_face(toy_folder, toy_avatar):
    example = load("livekit_agent")

    async def run(engine):
        session = AgentSession()
        await example.show_face(session, Room(), engine)
        told = []
        session.output.audio.on("playback_finished", told.append)
        await session.start(Agent(instructions="Be kind."))
        async with asyncio.timeout(60):
            await example.greet(session)
        await session.aclose()
        return told

    worker = Worker(MouthModel.open(toy_folder, threads=1), capacity=1)
    worker.prepare(toy_avatar)
    with AvatarEngine(worker, toy_avatar) as engine:
        (finished,) = asyncio.run(run(engine))
    assert finished.playback_position > 1.0
    assert not finished.interrupted


@pytest.mark.slow
def test_a_room_that_cannot_be_joined_is_told():
    words = ["--url", "ws://127.0.0.1:9", "--token", "wrong"]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "livekit_worker.py"), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ws://127.0.0.1:9 cannot be joined" in done.stderr
    # LiveKit's native library now and then aborts while Python ends, all being said and done.
    assert done.returncode in (1, -signal.SIGABRT)
