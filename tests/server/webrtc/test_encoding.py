"""One encoding for all who watch, and what each line is sent."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from av import CodecContext, Packet, VideoFrame
from av.error import FFmpegError

from lipstream.live.playout import ShownPicture, SoundBlock
from lipstream.media.codecs import NVENC, LiveEncoder
from lipstream.types import AvFrame
from lipstream_server.limits import CpuLoad
from lipstream_server.metrics import ServerMetrics
from lipstream_server.webrtc.encoding import (
    KEY_SECONDS,
    NO_PICTURES,
    RUNGS,
    EncoderHub,
    EncodingPool,
    LineRate,
    Rung,
    VideoEncoding,
)
from lipstream_server.webrtc.tracks import (
    SETTLED_BLOCKS,
    Encoded,
    SoundEncoder,
    scaled,
    video_frame,
)

SILENT = np.zeros(960, np.int16)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


# ------------------------------------------------------------------------ what a line carries


class ThinLine:
    """A receiver that estimates as they do: at most 1.5 times what comes, less when it queues."""

    def __init__(self, carries: float, loss: float = 0.0) -> None:
        self.carries, self.loss = carries, loss
        self.clock = Clock()
        self.rate = LineRate(self.clock)
        self.estimate = 300_000.0
        self.rungs: list[int] = []

    def run(self, seconds: float) -> None:
        sound = 32_000
        for _ in range(int(seconds * 5)):
            self.clock.now += 0.2
            pictures = 0 if self.rate.rung == NO_PICTURES else RUNGS[self.rate.rung].bitrate
            sent = pictures + sound
            if sent > self.carries:
                self.estimate = min(self.estimate, 0.85 * self.carries)
            else:
                self.estimate = min(self.estimate + 8_000, 1.5 * sent + 10_000)
            self.rate.estimate(self.estimate)
            self.rate.report_loss(self.loss + max(0.0, 1 - self.carries / sent))
            self.rungs.append(self.rate.choose(pictures, sound))


def test_a_wide_line_keeps_the_best_pictures():
    line = ThinLine(5_000_000)
    line.run(30)
    assert set(line.rungs) == {0}


@pytest.mark.parametrize(
    ("carries", "rung"), [(400_000, 1), (200_000, 2), (110_000, 3), (60_000, NO_PICTURES)]
)
def test_a_thin_line_gets_what_it_carries_most_of_the_time(carries, rung):
    line = ThinLine(carries)
    line.run(120)
    settled = line.rungs[100:]
    assert settled.count(rung) > len(settled) * 0.6
    assert min(settled) >= rung - 1


def test_pictures_are_whole_again_within_seconds_of_the_line():
    line = ThinLine(200_000)
    line.run(20)
    assert line.rungs[-1] >= 1
    line.carries = 5_000_000
    line.run(25)
    assert line.rungs[-1] == 0


def test_five_percent_lost_changes_nothing():
    line = ThinLine(5_000_000, loss=0.05)
    line.run(60)
    assert set(line.rungs) == {0}


def test_a_line_that_loses_much_gets_less_without_any_estimate():
    clock = Clock()
    rate = LineRate(clock)
    for _ in range(10):
        clock.now += 1
        rate.report_loss(0.4)
        rate.choose(800_000, 32_000)
    assert rate.rung >= 2


def test_packets_sent_again_have_a_share_and_a_limit():
    clock = Clock()
    rate = LineRate(clock)
    assert rate.resent_rate == 150_000
    rate.estimate(400_000)
    assert rate.resent_rate == 60_000
    rate.estimate(50_000)
    assert rate.resent_rate == 30_000


# ----------------------------------------------------------------------------- encoding


def noisy(width: int, height: int, place: int) -> VideoFrame:
    """A still picture in which a part moves."""
    image = np.random.default_rng(1).integers(90, 160, (height, width, 3), np.uint8)
    image[height // 2 :, width // 4 : width // 2] += np.uint8(place % 60)
    return VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p")


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_key_pictures_are_made_where_they_are_asked_for_and_nowhere_else(codec):
    encoding = VideoEncoding(codec, RUNGS[2])
    keys = []
    for place in range(60):
        packets = encoding.encode(noisy(256, 256, place), place * 3600, key=place == 40)
        keys += [place for packet in packets if packet.is_keyframe]
        assert [packet.ticks for packet in packets] == [place * 3600]  # one each, and at once
    assert keys == [0, 40]


def test_where_the_cards_encoder_fails_the_processor_goes_on_with_a_key_picture(caplog):
    broken = LiveEncoder(NVENC.name, NVENC.options | {"gpu": "4000"}, on_gpu=True)  # no such card
    encoding = VideoEncoding("H264", RUNGS[0], broken)
    packets = [encoding.encode(noisy(256, 256, k), k * 3600, key=False) for k in range(3)]
    assert [len(made) for made in packets] == [1, 1, 1]
    assert [made[0].is_keyframe for made in packets] == [True, False, False]
    assert [made[0].ticks for made in packets] == [0, 3600, 7200]
    assert encoding.encoder.name == "libx264"
    assert [one.message for one in caplog.records if "the processor encodes" in one.message] == [
        caplog.messages[0]
    ]


def test_an_error_of_the_processors_encoder_is_an_error():
    encoding = VideoEncoding("H264", RUNGS[0], LiveEncoder("libx264", {"preset": "none such"}))
    with pytest.raises(FFmpegError):
        encoding.encode(noisy(256, 256, 0), 0, key=True)


@pytest.mark.parametrize("codec", ["VP8", "H264"])
@pytest.mark.parametrize("place", range(len(RUNGS)))
def test_a_rung_takes_the_bits_it_may(codec, place):
    rung = RUNGS[place]
    encoding, size, count = VideoEncoding(codec, rung), 0, 75 // rung.every
    side = int(256 * rung.share)
    for number in range(count):
        picture = noisy(side, side, number * rung.every)
        packets = encoding.encode(picture, number * rung.every * 3600, key=False)
        size += sum(packet.size for packet in packets) if number > count // 5 else 0
    seconds = (count - count // 5 - 1) * rung.every / 25
    assert size * 8 / seconds < rung.bitrate * 1.35


def test_sound_is_one_packet_a_block_and_carries_the_one_before():
    encoder, decoder = SoundEncoder(), CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout, decoder.format = 48_000, "mono", "s16"
    tone = (8000 * np.sin(np.arange(960 * 50) * 2 * np.pi * 440 / 48_000)).astype(np.int16)
    heard = []
    for place in range(50):
        pcm = tone[place * 960 : (place + 1) * 960]
        [packet] = encoder.encode(SoundBlock(pcm, place * 960, 0))
        assert packet.ticks == place * 960
        for frame in decoder.decode(Packet(*packet.payloads)):
            heard.append(frame.to_ndarray().reshape(-1))
    assert 6000 < np.abs(np.concatenate(heard)[4800:].astype(int)).max() < 10_000


def test_a_pause_costs_nothing_and_what_is_said_after_it_is_as_clear():
    """Against an encoder that a noise no one hears keeps at work through the pause."""

    def heard(pause: np.ndarray) -> tuple[np.ndarray, set[bytes]]:
        encoder, decoder = SoundEncoder(), CodecContext.create("libopus", "r")
        decoder.sample_rate, decoder.layout, decoder.format = 48_000, "mono", "s16"
        count = np.arange(960 * 50)
        tone = sum(np.sin(count * 2 * np.pi * hertz / 48_000) for hertz in (220, 640, 1700, 5100))
        said = (3000 * tone * (1.2 + np.sin(count * 2 * np.pi * 4 / 48_000))).astype(np.int16)
        pcm, packets, decoded = np.concatenate([said, pause, said]), [], []
        for place in range(len(pcm) // 960):
            block = SoundBlock(pcm[place * 960 : (place + 1) * 960], place * 960, 0)
            packets += encoder.encode(block)
        assert [packet.ticks for packet in packets] == list(range(0, len(pcm), 960))
        for packet in packets:
            for frame in decoder.decode(Packet(*packet.payloads)):
                decoded.append(frame.to_ndarray().reshape(-1))
        rest = {packet.payloads[0] for packet in packets[50 + SETTLED_BLOCKS : 200]}
        return np.concatenate(decoded).astype(float), rest

    plain, same = heard(np.zeros(960 * 150, np.int16))
    noise = np.random.default_rng(1).integers(-1, 2, 960 * 150).astype(np.int16)
    busy, _ = heard(noise)
    assert len(same) == 1
    assert np.abs(plain[960 * 60 : 960 * 200]).max() <= 2
    again, wanted = plain[960 * 200 : 960 * 248], busy[960 * 200 : 960 * 248]
    assert np.corrcoef(again, wanted)[0, 1] > 0.97


def test_a_smaller_rung_shows_the_same_picture():
    whole = noisy(256, 256, 3)
    small = scaled(whole, 128, 128)
    plain = whole.to_ndarray(format="gray").astype(float).reshape(128, 2, 128, 2).mean((1, 3))
    assert np.abs(small.to_ndarray(format="gray").astype(float) - plain).max() <= 2
    assert scaled(whole, 256, 256) is whole


# ------------------------------------------------------------------------------ the hub


class PlainStage:
    """What a hub asks of its stage."""

    name = "test"

    def __init__(self) -> None:
        self.conversation, self.sinks = SimpleNamespace(picture_step=1), []

    def attach(self, sink) -> None:
        self.sinks.append(sink)

    def detach(self, sink) -> None:
        self.sinks.remove(sink)


class Watcher:
    """A viewer that keeps what it is sent."""

    def __init__(self, codec: str | None = "VP8") -> None:
        self.codec, self.rate, self.listening = codec, LineRate(), True
        self.pictures: list[Encoded] = []
        self.sound: list[Encoded] = []
        self.changes: list[tuple[Rung | None, int]] = []

    def pictures_change(self, rung, step) -> None:
        self.changes.append((rung, step))

    def take_sound(self, block, packet) -> None:
        self.sound.append(packet)

    def take_picture(self, packets) -> None:
        self.pictures += packets


def picture(place: int) -> ShownPicture:
    image = np.full((64, 64, 3), 90 + place % 50, np.uint8)
    return ShownPicture(AvFrame(place, image, SILENT, 0, 0.0), place * 1920, False)


class Studio:
    """A hub, its clock, and pictures played to it one at a time."""

    def __init__(self) -> None:
        self.clock, self.stage = Clock(), PlainStage()
        self.pool = EncodingPool(ServerMetrics())
        self.hub = EncoderHub(self.stage, self.pool, self.clock)
        self.place = 0

    async def play(self, count: int) -> None:
        for _ in range(count):
            self.hub.on_media(picture(self.place))
            self.place += 1
            while self.hub._busy is not None:
                await asyncio.sleep(0)
            self.clock.now += 0.04


def keys(packets: list[Encoded]) -> list[int]:
    return [place for place, packet in enumerate(packets) if packet.is_keyframe]


def test_all_viewers_of_a_codec_are_handed_the_same_packets():
    async def play():
        studio, watchers = Studio(), [Watcher(), Watcher(), Watcher("H264"), Watcher(None)]
        for watcher in watchers:
            studio.hub.add(watcher)
        await studio.play(10)
        studio.hub.on_media(SoundBlock(SILENT, 0, 0))
        studio.pool.close()
        return watchers

    one, two, other, deaf = asyncio.run(play())
    assert len(one.pictures) == 10
    assert all(a is b for a, b in zip(one.pictures, two.pictures, strict=True))
    assert len(other.pictures) == 10
    assert not deaf.pictures
    assert one.sound[0] is two.sound[0] is other.sound[0] is deaf.sound[0]


def test_a_newcomer_begins_with_a_key_picture_and_the_others_go_on():
    async def play():
        studio, first, second = Studio(), Watcher(), Watcher()
        studio.hub.add(first)
        await studio.play(20)
        studio.hub.add(second)
        await studio.play(10)
        studio.pool.close()
        return first, second

    first, second = asyncio.run(play())
    assert len(first.pictures) == 30
    assert second.pictures[0].is_keyframe
    assert len(second.pictures) == 10


def test_key_pictures_are_a_while_apart_however_many_are_asked_for():
    async def play():
        studio, watcher = Studio(), Watcher()
        studio.hub.add(watcher)
        for _ in range(50):
            await studio.play(1)
            studio.hub.ask_for_key(watcher)
        studio.pool.close()
        return watcher

    places = keys(asyncio.run(play()).pictures)
    assert 5 <= len(places) <= 8
    assert min(np.diff(places)) * 0.04 >= KEY_SECONDS


def test_sound_does_not_wait_for_pictures():
    async def play():
        studio, watcher, blocked = Studio(), Watcher(), threading.Event()
        studio.pool.threads = ThreadPoolExecutor(1)
        studio.pool.threads.submit(blocked.wait)
        studio.hub.add(watcher)
        for place in range(10):
            studio.hub.on_media(picture(place))
            studio.hub.on_media(SoundBlock(SILENT, place * 960, 0))
            await asyncio.sleep(0)
        sound, pictures, lost = len(watcher.sound), len(watcher.pictures), studio.hub.lost
        blocked.set()
        studio.pool.close()
        return sound, pictures, lost

    assert asyncio.run(play()) == (10, 0, 8)


def test_a_viewer_on_a_thin_line_goes_to_a_smaller_rung_without_a_gap():
    async def play():
        studio, wide, thin = Studio(), Watcher(), Watcher()
        thin.rate = LineRate(studio.clock)
        for watcher in (wide, thin):
            studio.hub.add(watcher)
        await studio.play(10)
        thin.rate.rung, thin.rate._changed_at = 2, studio.clock.now
        await studio.play(20)
        studio.pool.close()
        return wide, thin

    wide, thin = asyncio.run(play())
    assert len(thin.pictures) == len(wide.pictures) == 30
    assert thin.pictures[9] is wide.pictures[9]
    assert thin.pictures[-1] is not wide.pictures[-1]
    assert keys(thin.pictures)[-1] == 10


def test_a_viewer_is_told_once_whenever_what_it_is_sent_changes():
    async def play():
        studio, watcher = Studio(), Watcher()
        watcher.rate = LineRate(studio.clock)
        studio.hub.add(watcher)
        await studio.play(10)
        studio.stage.conversation.picture_step = 2
        await studio.play(5)
        for rung in (2, NO_PICTURES):
            watcher.rate.rung, watcher.rate._changed_at = rung, studio.clock.now
            await studio.play(12)
        studio.pool.close()
        return watcher.changes

    assert asyncio.run(play()) == [(RUNGS[0], 1), (RUNGS[0], 2), (RUNGS[2], 2), (None, 2)]


def test_what_each_viewer_is_sent_is_counted_once_a_second():
    async def play():
        studio = Studio()
        for watcher in (Watcher(), Watcher()):
            studio.hub.add(watcher)
        for place in range(150):
            await studio.play(place % 2)
            studio.hub.on_media(SoundBlock(SILENT, place * 960, 0))
        studio.pool.close()
        return studio.pool.metrics

    text = asyncio.run(play()).text().decode()
    assert "line_bits_per_second_count 6.0" in text


def test_nothing_is_encoded_for_nobody():
    async def play():
        studio, watcher = Studio(), Watcher()
        studio.hub.add(watcher)
        await studio.play(3)
        studio.hub.remove(watcher)
        return studio.stage.sinks

    assert asyncio.run(play()) == []


def watch_for(studio, seconds, took):
    """Return the steps at which pictures were made that took so long each."""
    steps = []
    for _ in range(int(seconds / 0.04)):
        studio.clock.now += 0.04
        studio.hub._watch_the_time(took)
        steps.append(studio.stage.conversation.picture_step)
    return steps


def test_a_machine_too_slow_makes_fewer_pictures_and_more_again():
    studio = Studio()
    assert watch_for(studio, 10, took=0.15)[-1] == 3
    assert watch_for(studio, 20, took=0.004)[-1] == 1


def test_a_machine_hardly_too_slow_drops_a_picture_now_and_then_instead():
    assert set(watch_for(Studio(), 10, took=0.05)) == {1}


def test_pictures_that_cannot_be_made_are_tried_more_and_more_seldom():
    studio, tries = Studio(), []
    watch_for(studio, 3, took=0.07)
    for _ in range(5):
        while studio.stage.conversation.picture_step > 1:  # half as many go well
            watch_for(studio, 0.2, took=0.025)
        tries.append(studio.clock.now)
        while studio.stage.conversation.picture_step == 1:
            watch_for(studio, 0.2, took=0.07)
    waits = np.diff(tries)
    assert (np.diff(waits) > 3).all()


def test_load_is_the_part_of_all_cores_that_was_used_of_late():
    clock, used = Clock(), Clock()
    load = CpuLoad(4, clock, used)
    clock.now, used.now = clock.now + 2, used.now + 6
    assert load.measure() == pytest.approx(0.75)
    clock.now += 0.5
    assert load.measure() == pytest.approx(0.75)  # too little time has passed
    clock.now += 2
    assert load.measure() == 0


def test_a_frame_of_an_avatar_is_drawn_as_encoders_take_it():
    frame = video_frame(picture(0).frame)
    assert (frame.format.name, frame.width) == ("yuv420p", 64)
    assert Fraction(1) == RUNGS[0].share
