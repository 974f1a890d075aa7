"""A stage pushed to nginx and recorded in files: what is in the recordings, and what goes wrong."""

import asyncio
import json
import os
import sys
import time
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest

from lipstream.errors import InputError
from lipstream.live.playout import ShownPicture
from lipstream_server.config import RECORDED, OutputConfig
from lipstream_server.outputs import FILES, Outputs, StageOutput
from lipstream_server.stage.stage import Stage
from lipstream_server.webrtc.peer import PeerSessions
from server.apart import apart
from server.apart import show as figures
from server.peers import running
from server.rtmp_peers import KEY, Nginx, Peer, TlsProxy, make_certificate
from timing import limit

RATE = 48_000
LONG_SECONDS = 600


class Shown:
    """What the stage shows, by itself: brightness of the mouth, and the sound."""

    lost = 0

    def __init__(self):
        self.pictures, self.sound = [], []

    def on_media(self, item):
        if isinstance(item, ShownPicture):
            self.pictures.append((item.sample / RATE, brightness(item.frame.image.mean(axis=2))))
        else:
            self.sound.append((item.sample / RATE, item.pcm))


def brightness(grey):
    """How bright the mouth is against the rest."""
    height, width = grey.shape
    mouth = grey[int(height * 0.65) : int(height * 0.85), int(width * 0.35) : int(width * 0.65)]
    return float(mouth.mean() - grey[: height // 4].mean())


def read(path):
    """Return a recording's pictures and sound, as ``Shown`` has them."""
    pictures, sound = [], []
    with av.open(str(path)) as recording:
        for frame in recording.decode(*recording.streams):
            at = float(frame.pts * frame.time_base)
            if isinstance(frame, av.AudioFrame):
                sound.append((at, frame.to_ndarray().reshape(-1)))
            else:
                grey = frame.to_ndarray(format="gray").astype(np.float64)
                pictures.append((at, brightness(grey)))
    return pictures, sound


def lag_ms(pictures, sound):
    """By how much the sound must be moved for the mouth to follow its loudness best."""
    start = sound[0][0]
    heard = np.zeros(round((sound[-1][0] - start) * RATE) + len(sound[-1][1]))
    for at, pcm in sound:
        place = round((at - start) * RATE)
        heard[place : place + len(pcm)] = pcm
    heard /= np.abs(heard).max()
    energy = np.concatenate([[0.0], np.cumsum(heard**2)])
    times, bright = np.array(pictures).T

    def loudness(at):
        first = np.clip(((at - start) * RATE).astype(int), 0, len(heard))
        last = np.clip(first + RATE // 25, 0, len(heard))
        return np.maximum(10 * np.log10((energy[last] - energy[first]) / (RATE // 25) + 1e-9), -50)

    shifts = np.arange(-120, 121)
    fits = [np.corrcoef(loudness(times + one / 1000), bright)[0, 1] for one in shifts]
    assert max(fits) > 0.6  # less where a busy machine repeats pictures
    return int(shifts[int(np.argmax(fits))])


async def until(true, seconds=20.0):
    """Wait until something holds, as seldom as pictures come."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


def duration(path):
    with av.open(str(path)) as recording:
        last = {}
        for packet in recording.demux():
            if packet.pts is not None:
                last[packet.stream.type] = float((packet.pts + packet.duration) * packet.time_base)
    return min(last.values())


@pytest.fixture
def stage(worker, toy_avatar):
    opened = Stage.open("hall", worker, toy_avatar)
    yield opened
    opened.end()


@cache
def bursts():
    """A minute of noise in bursts, each begun at another phase of a picture."""
    count = 60 * RATE
    noise = np.random.default_rng(7).standard_normal(count) * 4000
    return (noise * ((np.arange(count) % 35_500) < 15_000)).astype(np.int16)


async def speak(stage):
    """Push sound for as long as the stage lasts."""
    while not stage.ended:
        if stage.conversation.queued_ms < 30_000:
            stage.conversation.push(bursts(), RATE)
        await asyncio.sleep(0.1)


def show(stage, targets, seconds, meanwhile=None):
    """Run a stage with outputs for a while; return them, and what it showed."""
    bursts()
    outputs, shown = [StageOutput(stage, one) for one in targets], Shown()

    async def run():
        stage.start()
        stage.attach(shown)
        for output in outputs:
            output.start()
        speaking = asyncio.create_task(speak(stage))
        if meanwhile is not None:
            await meanwhile(outputs)
        begun = len(shown.pictures)
        await until(lambda: len(shown.pictures) >= begun + 25 * seconds, seconds + 30)
        stage.end()
        await speaking
        for output in outputs:
            await output.wait(10)

    asyncio.run(run())
    return outputs, shown


@pytest.mark.slow
def test_recordings_hold_sound_and_picture_in_step(stage, tmp_path):
    paths = [tmp_path / "a.mp4", tmp_path / "a.mkv"]
    outputs, shown = show(stage, paths, 3.0)
    direct = lag_ms(shown.pictures, shown.sound)
    for path, output in zip(paths, outputs, strict=True):
        assert output.state.state == "ended"
        assert output.state.error == ""
        assert output.lost <= 10  # before it was open
        assert duration(path) > 2.0
        assert abs(lag_ms(*read(path)) - direct) <= 20, path


def test_the_endings_that_the_command_line_takes_are_those_that_are_written():
    assert tuple(FILES) == RECORDED


def test_a_recording_is_never_written_over(tmp_path):
    (tmp_path / "there.mp4").touch()
    with pytest.raises(InputError, match="exists already"):
        OutputConfig(record=(tmp_path / "there.mp4",)).check()
    with pytest.raises(InputError, match=r"ends in \.mp4 or \.mkv"):
        OutputConfig(record=(tmp_path / "there.avi",)).check()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/b/c",
        "rtmp://",
        "https://",
        "https://me@a/whip",
        "rtmp://a:x/b/c",
        "rtmp://a/live",
        "c",
    ],
)
def test_what_is_no_address_of_a_stream_is_refused_without_showing_it(url):
    with pytest.raises(InputError):
        OutputConfig(push=(url,)).check()


@pytest.mark.slow
def test_a_recording_that_cannot_be_written_ends_alone(stage, tmp_path):
    outputs, _ = show(stage, [tmp_path / "no such folder" / "a.mp4"], 0.5)
    assert outputs[0].state.state == "ended"
    assert "No such file or directory" in outputs[0].state.error


@pytest.mark.slow
def test_a_push_to_nobody_says_so_and_the_stage_lives_on(stage):
    outputs, _ = show(stage, ["rtmp://127.0.0.1:9/live/key"], 1.5)
    assert "refuses connections" in outputs[0].state.error
    assert outputs[0].lost == stage.lost > 0


@pytest.mark.slow
def test_a_push_by_srt_says_what_is_missing_for_it_and_is_not_tried_again(stage, caplog):
    outputs, _ = show(stage, ["srt://127.0.0.1:9?streamid=secret"], 0.5)
    assert "needs an FFmpeg with SRT" in outputs[0].state.error
    assert "secret" not in outputs[0].state.error
    assert "ends: " in caplog.text
    assert "again in" not in caplog.text


@pytest.mark.slow
def test_a_refused_stream_says_so_and_the_stage_lives_on(stage, caplog):
    with Peer(verdict="NetStream.Publish.BadName") as peer:
        outputs, _ = show(stage, [peer.url], 0.8)
    assert "refuses the stream: NetStream.Publish.BadName" in caplog.text
    assert outputs[0].state.begun == 0


@pytest.mark.slow
@pytest.mark.timeout(2 * LONG_SECONDS + 120)
def test_nginx_records_a_push_in_step_and_gets_it_again_after_a_restart(stage, tmp_path):
    nginx = Nginx(tmp_path / "nginx")
    seconds = float(os.environ.get("LIPSTREAM_PUSH_SECONDS", "12")) / 2

    async def restart(outputs):
        await until(lambda: outputs[0].state.state == "live")
        await asyncio.sleep(seconds)
        nginx.__exit__()
        await until(lambda: outputs[0].state.state != "live")
        await asyncio.to_thread(nginx.__enter__)
        await until(lambda: outputs[0].state.begun == 2)

    nginx.__enter__()
    try:
        outputs, shown = show(stage, [f"{nginx.url}/{KEY}"], seconds, restart)
    finally:
        nginx.__exit__()
    direct = lag_ms(shown.pictures, shown.sound)
    before, after = nginx.recordings()
    assert outputs[0].state.error == ""
    apart_ms = [lag_ms(*read(recording)) - direct for recording in (before, after)]
    lasted = [duration(recording) for recording in (before, after)]
    figures(f"nginx has {lasted} s, sound and picture {apart_ms} ms apart, {outputs[0].lost} lost")
    assert min(lasted) > seconds - 2.0
    assert np.abs(apart_ms).max() <= 20


@pytest.mark.slow
def test_a_wrong_stream_key_is_told(stage, tmp_path):
    with Nginx(tmp_path / "nginx") as nginx:
        outputs, _ = show(stage, [f"{nginx.url}/wrong", f"{nginx.url}x/{KEY}"], 1.0)
    assert "stream key" in outputs[0].state.error
    assert "path" in outputs[1].state.error


@pytest.mark.slow
def test_nginx_records_a_push_over_tls(stage, tmp_path, monkeypatch):
    files = make_certificate(tmp_path, "IP:127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    with Nginx(tmp_path / "nginx") as nginx, TlsProxy(*files, nginx.port) as proxy:
        outputs, shown = show(stage, [f"rtmps://127.0.0.1:{proxy.port}/live/{KEY}"], 4.0)
    (recorded,) = nginx.recordings()
    assert outputs[0].state.error == ""
    assert duration(recorded) > 3.0
    apart_ms = lag_ms(*read(recorded)) - lag_ms(shown.pictures, shown.sound)
    figures(f"over TLS nginx has {duration(recorded):.2f} s, {apart_ms} ms apart")
    assert abs(apart_ms) <= 20


@pytest.mark.slow
def test_what_was_recorded_before_a_kill_can_be_played(toy_folder, toy_pack, tmp_path):
    paths = [tmp_path / "a.mp4", tmp_path / "a.mkv"]

    async def run():
        words = [word for path in paths for word in ("--record", str(path))]
        async with apart(toy_folder, toy_pack, tmp_path / "log", *words) as server:
            async with asyncio.timeout(30):
                while not all(path.exists() and path.stat().st_size for path in paths):
                    await asyncio.sleep(0.02)
            begun = time.monotonic()
            await asyncio.sleep(6)
            server.process.kill()
            return time.monotonic() - begun

    lasted = asyncio.run(run())
    figures(f"killed after {lasted:.2f} s; on the disk: {[duration(path) for path in paths]} s")
    for path in paths:
        assert duration(path) >= lasted - limit(0.25, 1.0), path


class Device:
    """A virtual camera as pyvirtualcam's backends are: takes I420 or what can be made of BGR."""

    made = ()

    def __init__(self, *, width, height, fps, fourcc, device, **_):
        if device == "/dev/none":
            raise RuntimeError("there is no such device.")
        self.size, self.name, self.shown, self.closed = (width, height), device, [], False
        Device.made = (*Device.made, self)

    def send(self, frame):
        self.shown.append(frame)

    def close(self):
        self.closed = True

    def device(self):
        return self.name or "/dev/video0"

    def native_fourcc(self):
        return None


@pytest.mark.slow
def test_a_virtual_camera_shows_the_pictures_and_one_that_is_not_there_says_so(stage, monkeypatch):
    pyvirtualcam = pytest.importorskip("pyvirtualcam", reason="pip install 'lipstream[camera]'")
    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {"test": Device})
    monkeypatch.setattr(Device, "made", ())
    outputs, shown = show(stage, ["camera:", "camera:/dev/none"], 1.0)
    (camera,) = Device.made
    assert camera.size == (128, 128)
    assert camera.closed
    assert abs(len(camera.shown) - len(shown.pictures)) <= outputs[0].lost + 2
    first = camera.shown[0].reshape(128, 128, 3)
    assert brightness(first.mean(axis=2)) == pytest.approx(shown.pictures[0][1], abs=30)
    assert outputs[0].state.error == ""
    assert outputs[1].state.target == "camera:/dev/none"
    assert "no virtual camera can be opened ('test' backend: there is no" in outputs[1].state.error
    assert outputs[1].state.begun == 0


@pytest.mark.slow
def test_without_a_virtual_camera_in_the_system_the_stage_lives_on(stage):
    pytest.importorskip("pyvirtualcam", reason="pip install 'lipstream[camera]'")
    if any(Path("/dev").glob("video*")):
        pytest.skip("this machine may have one")
    outputs, shown = show(stage, ["camera:"], 0.6)
    assert "modprobe v4l2loopback" in outputs[0].state.error
    assert len(shown.pictures) > 5


def test_a_camera_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'lipstream\[camera\]'"):
        OutputConfig(push=("camera:",)).check()


SINK = """
class Counting:
    def __init__(self, url):
        self.url, self.items = url, []
        made.append(self)
        if url.endswith("refuses"):
            raise OSError("it is full")
    def write(self, item):
        self.items.append(item)
    def close(self):
        self.items.append("closed")

made = []
"""


@pytest.mark.slow
def test_another_package_adds_a_kind_of_output(stage, tmp_path, monkeypatch):
    (tmp_path / "more_sinks.py").write_text(SINK)
    folder = tmp_path / "more_sinks-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: more-sinks\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[lipstream.sinks]\ncount = more_sinks:Counting\n")
    with pytest.raises(InputError):
        OutputConfig(push=("count://here/secret",)).check()
    monkeypatch.syspath_prepend(tmp_path)
    OutputConfig(push=("count://here/secret",)).check()
    outputs, _ = show(stage, ["count://here/secret", "count:refuses"], 0.6)
    made = sys.modules["more_sinks"].made
    (counting,) = (one for one in made if one.url == "count://here/secret")
    assert len(counting.items) > 10
    assert counting.items[-1] == "closed"
    assert outputs[0].state.target == "count://here/..."
    assert outputs[1].state.error == "it is full"


def test_outputs_are_begun_listed_and_ended_by_http(worker, toy_avatar, tmp_path):
    where = "/stages/hall/outputs"

    async def run():
        recordings = OutputConfig(recordings=tmp_path / "films")
        async with running(worker, toy_avatar, outputs=recordings) as server:

            async def order(**words):
                json_type = {"Content-Type": "application/json"}
                return await server.ask("POST", where, json.dumps(words).encode(), json_type)

            stage = await server.sessions.stages.open("hall")
            begun = await order(record="show.mp4")
            assert begun.status == 201
            assert json.loads(begun.body)["target"] == "show.mp4"
            assert not stage.empty
            for refused in ("show.mp4", "../show.mp4", "show.avi"):
                assert (await order(record=refused)).status == 409, refused
            assert (await order(push="ftp://a/b")).status == 409
            assert (await order(push="rtmp://a/b/c", token="secret")).status == 409
            assert (await order()).status == 409
            await until((tmp_path / "films" / "show.mp4").exists)
            listed = json.loads((await server.ask("GET", where)).body)["outputs"]
            assert [one["id"] for one in listed] == [json.loads(begun.body)["id"]]
            location = begun.headers["location"]
            assert (await server.ask("DELETE", location)).status == 204
            assert (await server.ask("DELETE", location)).status == 404
            assert stage.empty

    asyncio.run(run())


def test_the_token_of_a_stage_begins_no_outputs(worker, toy_avatar):
    async def run():
        async with running(worker, toy_avatar, token="administrator") as server:
            order = {"stage": "hall", "rights": ["watch", "speak", "control"]}
            json_type = {"Content-Type": "application/json"}
            admin = json_type | {"Authorization": "Bearer administrator"}
            answer = await server.ask("POST", "/tokens", json.dumps(order).encode(), admin)
            await server.sessions.stages.open("hall")
            own = json_type | {"Authorization": f"Bearer {json.loads(answer.body)['token']}"}
            push = json.dumps({"push": "rtmp://127.0.0.1:9/live/key"}).encode()
            refused = await server.ask("POST", "/stages/hall/outputs", push, own)
            assert refused.status == 403
            assert (await server.ask("GET", "/stages/hall/outputs", None, own)).status == 200

    asyncio.run(run())


@pytest.mark.slow
def test_what_a_server_is_started_with_begins_with_it(worker, toy_avatar, tmp_path):
    async def run():
        sessions = PeerSessions(worker, toy_avatar)
        path = tmp_path / "a.mkv"
        outputs = Outputs(sessions, OutputConfig("show", record=(path,)))
        async with outputs.open():
            stage = sessions.stages.find("show")
            await until(lambda: outputs.of(stage)[0].state == "live")
            await asyncio.sleep(0.5)
        stage.end()
        return duration(path)

    assert asyncio.run(run()) > 0.1
