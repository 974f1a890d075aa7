"""What a viewer in Chromium gets over bad lines, and a stage's viewers beside each other.

A relay in user space is the line. What is asserted is relative to a good line in the same run; the
figures are shown by ``pytest -rA``.
"""

import asyncio
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from aiortc.mediastreams import AudioStreamTrack

from browser.driving import serving
from server.apart import show
from server.peers import peer, running

CLIENT = Path(__file__).parent / "clients" / "chromium_line.py"
WATCHED_SECONDS = 10


@pytest.fixture(scope="module")
def server():
    if shutil.which("chromium") is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with serving() as url:
        yield url


def watch(url: str, **line: float) -> dict:
    """Return what Chromium counted over a line."""
    command = [sys.executable, CLIENT, url, str(WATCHED_SECONDS), json.dumps(line)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    show(f"{line}: " + ", ".join(f"{name} {value}" for name, value in result.items()))
    return result


@pytest.fixture(scope="module")
def good(server) -> dict:
    return watch(server)


@pytest.mark.slow
@pytest.mark.browser
def test_a_thin_line_has_all_of_the_sound_and_some_of_the_pictures(server, good):
    thin = watch(server, down_bits=400_000, settle_s=8)
    assert thin["sound_packets_a_second"] > 47
    assert thin["fps"] > good["fps"] * 0.4


@pytest.mark.slow
@pytest.mark.browser
def test_loss_and_jitter_leave_holes_neither_in_sound_nor_in_pictures(server, good):
    """Of three looks one counts: a picture lost for good holds the others up for seconds."""
    looks = (watch(server, loss=0.05, jitter_s=0.05) for _ in range(3))
    bad = next((one for one in looks if one["fps"] > good["fps"] * 0.4), None)
    assert bad is not None, "too few pictures, three times"
    came, lost = bad["sound_packets_a_second"] * WATCHED_SECONDS, bad["sound_lost"]
    assert bad["concealed_share"] < good["concealed_share"] + lost / (came + lost) + 0.02


@pytest.mark.slow
@pytest.mark.browser
def test_pictures_are_there_again_soon_after_the_path_was_gone(server):
    gone = watch(server, gap_s=4.0)
    assert gone["back_s"] < 6  # 3 on a machine that is not loaded


@pytest.mark.slow
def test_viewers_of_a_stage_see_the_same_pictures_and_hear_what_another_sends(worker, toy_avatar):
    async def play():
        async with (
            running(worker, toy_avatar) as served,
            peer() as source,
            peer() as one,
            peer() as two,
            peer() as three,
        ):
            source.connection.addTrack(Tone())
            sdp = await offer_of(source)
            await source.accept(await served.offer("/whip?stage=together", sdp))
            viewers = [one, two, three]
            for viewer in viewers:
                sdp = await viewer.offer("recvonly", "recvonly")
                await viewer.accept(await served.offer("/whep?stage=together", sdp))
                await viewer.connected()
            counts = (60, 60, 20)  # who came first has more that wait to be looked at
            looking = zip(viewers, counts, strict=True)
            seen = await asyncio.gather(*(pictures(*words) for words in looking))
            loud = await asyncio.gather(*(loudest(viewer) for viewer in viewers))
            return seen, loud, len(served.sessions.stages)

    seen, loud, stages = asyncio.run(play())
    assert stages == 1
    newest = seen[-1]
    assert all(len(newest & other) > 0.8 * len(newest) for other in seen)
    assert min(loud) > 1000


class Tone(AudioStreamTrack):
    """A tone of 200 Hz."""

    async def recv(self):
        frame = await super().recv()
        count = np.arange(frame.samples) + (frame.pts or 0)
        tone = (8000 * np.sin(count * 2 * np.pi * 200 / frame.sample_rate)).astype(np.int16)
        frame.planes[0].update(tone.tobytes())
        return frame


async def offer_of(source) -> str:
    for transceiver in source.connection.getTransceivers():
        transceiver.direction = "sendonly"
    await source.connection.setLocalDescription(await source.connection.createOffer())
    return source.connection.localDescription.sdp


async def pictures(viewer, count: int) -> set[str]:
    """Return what tells the next pictures apart."""
    track, found = viewer.track("video"), set()
    for _ in range(count):
        frame = await asyncio.wait_for(track.recv(), 20)
        found.add(hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest())
    return found


async def loudest(viewer) -> int:
    """Return the peak of a second of sound."""
    track, peak = viewer.track("audio"), 0
    for _ in range(50):
        frame = await asyncio.wait_for(track.recv(), 20)
        peak = max(peak, int(np.abs(frame.to_ndarray().astype(int)).max()))
    return peak
