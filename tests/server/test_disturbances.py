"""A maker that is killed, a disk that fills up, a clock that is set: told at once, nothing lost.

A live viewer watches meanwhile, and must see nothing of it.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from lipstream import Avatar
from lipstream_server.auth import VALID_SECONDS
from media_files import numbered, tone, write_film, write_picture, write_wav
from server.apart import Apart, apart, show
from server.peers import peer
from server.studio.serving import Visitor
from timing import LEAST_RATE, limit

LONG_FRAMES = 1500
FAKE_TIME = [
    path
    for folder in ("x86_64-linux-gnu", "aarch64-linux-gnu")
    for path in Path("/usr/lib", folder, "faketime").glob("libfaketimeMT.so.1")
]
DAY = 86_400 + 120


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own of 6 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk of its own cannot be mounted: {error}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def long_film(tmp_path):
    """A film without a face and a sound, which take seconds to make a film of."""
    shades = numbered(40)
    film = write_film(tmp_path / "long.mp4", [shades[k % 40] for k in range(LONG_FRAMES)])
    return film, write_wav(tmp_path / "long.wav", tone(8000, 8000 * LONG_FRAMES // 25), 8000)


class Viewer:
    """Somebody who watches while something happens."""

    def __init__(self, client) -> None:
        self._track, self._client, self.arrived = client.track("video"), client, []
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        with contextlib.suppress(MediaStreamError):  # the connection is over
            while True:
                await self._track.recv()
                self.arrived.append(time.monotonic())

    def has_seen(self, pictures: int) -> Callable[[], Awaitable[bool]]:
        """Return whether so many more have come."""
        before = len(self.arrived)

        async def asked() -> bool:
            return len(self.arrived) >= before + pictures

        return asked

    async def stop(self) -> tuple[float, float]:
        """Return pictures a second, and the longest pause between two in seconds."""
        self._watching.cancel()
        assert self._client.connection.connectionState == "connected"
        first, last = self.arrived[0], self.arrived[-1]
        pauses = np.diff([*self.arrived, time.monotonic()])
        return (len(self.arrived) - 1) / (last - first), float(pauses.max())


@asynccontextmanager
async def watched(server: Apart):
    async with peer() as client:
        await client.join(server)
        await client.connected()
        await asyncio.wait_for(client.track("video").recv(), 20)
        yield Viewer(client)


async def seen_within(seconds: float, true: Callable[[], Awaitable[bool]]) -> float:
    """Return after how long something held, which must be soon."""
    begun = time.monotonic()
    while not await true():
        assert time.monotonic() < begun + seconds, "it was not told in time"
        await asyncio.sleep(0.02)
    return time.monotonic() - begun


def makers(server: Apart) -> list[int]:
    """Return the subprocesses that work for a server's studio."""
    listed = Path(f"/proc/{server.pid}/task").glob("*/children")
    return [int(child) for one in listed for child in one.read_text().split()]


async def ordered(visitor: Visitor, film: Path, sound: Path) -> str:
    """Order a film and wait until it has a first part; return its name."""
    face = {"media": await asyncio.to_thread(visitor.added, "face", film)}
    spoken = {"sound": await asyncio.to_thread(visitor.added, "sound", sound)}
    answer = await asyncio.to_thread(visitor.order, face, spoken, quality="low")
    assert answer.status == 201, answer.body
    name: str = answer.said["id"]
    part = visitor.folder / "jobs" / name / ".film.mp4.work" / "000000.mp4"
    await seen_within(60, lambda: asyncio.to_thread(part.exists))
    return name


def is_in(visitor: Visitor, name: str, state: str) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return (await asyncio.to_thread(visitor.job, name))["state"] == state

    return asked


@pytest.mark.slow
def test_a_maker_killed_at_work_is_told_in_two_seconds_and_nothing_is_lost(
    toy_folder, toy_pack, tmp_path, long_film
):
    async def kill():
        folder = tmp_path / "kept"
        async with apart(toy_folder, toy_pack, tmp_path / "log", "--studio", str(folder)) as server:
            visitor = Visitor(server.url, folder)
            async with watched(server) as viewer:
                name = await ordered(visitor, *long_film)
                [child] = makers(server)
                os.kill(child, signal.SIGKILL)
                told = await seen_within(2, is_in(visitor, name, "failed"))
                message = (await asyncio.to_thread(visitor.job, name))["message"]
                seen = await viewer.stop()
            await asyncio.to_thread(visitor.post, f"/studio/jobs/{name}/again")
            await seen_within(120, is_in(visitor, name, "done"))
            return told, message, seen, (await asyncio.to_thread(visitor.job, name))["film"]

    told, message, (rate, pause), film = asyncio.run(kill())
    show(f"told after {told:.2f} s; the viewer saw {rate:.1f} a second, longest pause {pause:.2f}")
    assert message == "the work on it ended unexpectedly on the server: try again"
    assert film["frames"] == LONG_FRAMES
    assert rate >= LEAST_RATE


@pytest.mark.slow
def test_a_disk_that_fills_up_while_a_film_is_made_is_told_and_leaves_no_half_film(
    toy_folder, toy_pack, tmp_path, small_disk, long_film
):
    ballast = small_disk / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as opened, contextlib.suppress(OSError):
            while True:  # until there is no room
                opened.write(bytes(1 << 16))

    async def run_full():
        folder = small_disk / "kept"
        words = ("--studio", str(folder), "--studio-limit", "reserve_mb=0")
        async with apart(toy_folder, toy_pack, tmp_path / "log", *words) as server:
            visitor = Visitor(server.url, folder)
            async with watched(server) as viewer:
                name = await ordered(visitor, *long_film)
                kept = visitor.kept("media")
                while not (await is_in(visitor, name, "failed")()):
                    await asyncio.to_thread(fill)
                message = (await asyncio.to_thread(visitor.job, name))["message"]
                left = {path.name for path in (folder / "jobs" / name).iterdir()}
                refused = await asyncio.to_thread(visitor.send, "face", long_film[0])
                assert visitor.kept("media") == kept
                seen = await viewer.stop()
            ballast.unlink()
            await asyncio.to_thread(visitor.post, f"/studio/jobs/{name}/again")
            await seen_within(120, is_in(visitor, name, "done"))
            return message, left, refused, seen

    message, left, refused, (rate, _) = asyncio.run(run_full())
    assert message == "the server's disk is full: delete films that are no longer needed, try again"
    assert left == {"job.json", "poster.jpg", "face.mp4", "sound-1.wav"}
    assert refused.status == 507
    assert "disk is" in refused.error
    assert rate >= LEAST_RATE


@pytest.mark.slow
@pytest.mark.parametrize("command", ["render", "avatar make"])
def test_a_command_on_a_full_disk_says_so_in_one_line_and_leaves_nothing(
    small_disk, tmp_path, command
):
    picture = write_picture(tmp_path / "face.png", np.asarray(Avatar.open().frames[0]))
    sound = write_wav(tmp_path / "hello.wav", tone(8000, 8000), 8000)
    (small_disk / "ballast").write_bytes(bytes(5_990_000 + (1 << 18)))
    asked = ["render", picture, sound, "-o", small_disk / "film.mp4"]
    if command == "avatar make":
        asked = ["avatar", "make", picture, "-o", small_disk / "me.avatar", "--codec", "raw"]
    code = "import sys; from lipstream.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, asked)],
        capture_output=True,
        text=True,
        check=False,
    )
    [line] = done.stderr.splitlines()
    assert done.returncode == 2
    assert "No space left on device" in line
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


@pytest.mark.slow
@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_set_by_a_day_stops_no_pictures_spoils_no_link_and_deletes_nothing(
    toy_folder, toy_pack, tmp_path, long_film, days
):
    if not FAKE_TIME:
        pytest.skip("no libfaketime: apt install libfaketime")
    shift = tmp_path / "shift"
    shift.write_text("+0")
    environment = {
        "LD_PRELOAD": str(FAKE_TIME[0]),
        "FAKETIME_TIMESTAMP_FILE": str(shift),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }

    async def leap():
        folder = tmp_path / "kept"
        words = ("--studio", str(folder))
        log = tmp_path / "log"
        async with apart(toy_folder, toy_pack, log, *words, environment=environment) as server:
            visitor = Visitor(server.url, folder)
            name = await ordered(visitor, *long_film)
            poster = (await asyncio.to_thread(visitor.job, name))["poster"]
            await asyncio.to_thread(visitor.post, f"/studio/jobs/{name}/cancel")
            async with watched(server) as viewer:
                shift.write_text(f"{days * DAY:+d}")
                await seen_within(5, leapt(server))
                await seen_within(5, viewer.has_seen(100))
                seen = await viewer.stop()
            await asyncio.to_thread(visitor.post, f"/studio/jobs/{name}/again")
            await seen_within(60, is_in(visitor, name, "working"))  # what is old was deleted before
            linked = await asyncio.to_thread(visitor.ask, "GET", poster)
            return seen, linked.status, visitor.kept("media"), log.read_text()

    async def leapt_by(server: Apart) -> float:
        told = (await server.ask("GET", "/healthz")).headers["date"]
        return (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds()

    def leapt(server: Apart) -> Callable[[], Awaitable[bool]]:
        async def asked() -> bool:
            return abs(await leapt_by(server) - days * DAY) < 60

        return asked

    (rate, pause), linked, kept, log = asyncio.run(leap())
    show(f"{rate:.1f} pictures a second, longest pause {pause:.2f} s")
    assert VALID_SECONDS < DAY
    assert rate >= LEAST_RATE
    assert pause < limit(1, 4)
    assert linked == 200
    assert len(kept) == 2
    assert log == ""
