"""A stage's sound and pictures, encoded once for all who watch, and what each line can carry.

Pictures are encoded in rungs: sizes, bitrates and picture rates. Each rung that somebody watches is
encoded once for each codec, and its packets go to every viewer of it. A viewer who comes, or whose
decoder lost its way, waits for a key picture, which all of the rung share.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

from av import CodecContext, VideoFrame
from av.error import FFmpegError
from av.video.frame import PictureType

from lipstream.live.playout import ShownPicture, SoundBlock
from lipstream.machine import usable_cores
from lipstream.media.codecs import LIVE_ENCODERS, LiveEncoder, live_encoder
from lipstream_server.metrics import ServerMetrics
from lipstream_server.stage.stage import RATE, Stage
from lipstream_server.webrtc.tracks import (
    VIDEO_TICKS,
    Encoded,
    SoundEncoder,
    scaled,
    video_frame,
)

log = logging.getLogger(__name__)

DEFAULT_SIZE = 512
KEY_SECONDS = 0.3
"""Least time between two key pictures of a rung: each costs as much as ten others."""
RESENT_SHARE, LEAST_RESENT, MOST_RESENT = 0.15, 30_000, 150_000
"""Part of a line's bits that lost packets sent again may take; and their bits a second."""
PICTURE_SECONDS = 0.04
STEPS = (1, 2, 3, 5)
"""Every how many-th picture is made as the machine has less and less time."""
_LATE_SHARE, _EARLY_SHARE = 1.5, 0.75
"""Part of a picture's time that its work takes when there is no time for so many pictures, and part
of a shorter one's when there is for more.

Up to 1.5 of it one picture in three is left out, as it comes, which shows more than every second.
"""
_STEP_SECONDS, _BACK_SECONDS, _LONGEST_BACK_SECONDS = 1.0, 5.0, 80.0
"""Least times before a step to fewer pictures, and to more; twice the latter when that fails."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to encode pictures."""

    share: Fraction
    """Of the sides."""
    bitrate: int
    """Bits a second, without what the network adds."""
    every: int = 1
    """Every how many-th picture."""


RUNGS = (
    Rung(Fraction(1), 800_000),
    Rung(Fraction(1), 300_000),
    Rung(Fraction(1, 2), 120_000),
    Rung(Fraction(1, 2), 60_000, every=3),
)
"""Best first. After the last there are no pictures, and sound alone."""
NO_PICTURES = len(RUNGS)


class LineRate:
    """Which rung a viewer's line carries, by what its receiver reports. Pure but for the clock.

    Down at once when the receiver's estimate (REMB) falls below what is sent, or many packets are
    lost; what then fits is its estimate less the sound and a share for packets sent again. One that
    is low and rises is no reason: it cannot be more than about 1.5 times what came, and follows it
    slowly. So the way up is tried, and after a trial that failed the next comes later.

    Jitter alone makes receivers estimate little: below ``LEAST_BY_ESTIMATE`` only loss leads.
    """

    STALE_SECONDS = 8.0
    TRIAL_SECONDS = 6.0
    FIRST_WAIT, LONGEST_WAIT = 2.0, 10.0
    MOST_LOST = 0.12
    LEAST_BY_ESTIMATE = 2

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.rung = 0
        self._estimate: float | None = None
        self._estimated_at = self._fell_at = -math.inf
        self.lost_share = 0.0
        """Part of the packets that did not arrive, smoothed."""
        self._wait, self._changed_at = self.FIRST_WAIT, clock()
        self._trial_until, self._tried = clock() + self.TRIAL_SECONDS, False

    @property
    def target(self) -> float | None:
        """Bits a second that the receiver reports, with all; None where it does not."""
        fresh = self._clock() - self._estimated_at < self.STALE_SECONDS
        return self._estimate if fresh else None

    def estimate(self, bits_a_second: float) -> None:
        """Take the receiver's estimate."""
        now, before = self._clock(), self.target
        if before is not None and bits_a_second < 0.97 * before:
            self._fell_at = now
        self._estimate, self._estimated_at = bits_a_second, now

    def report_loss(self, share: float) -> None:
        """Take the part of packets that a receiver report says were lost since the last."""
        self.lost_share += (share - self.lost_share) * 0.3

    @property
    def resent_rate(self) -> float:
        """Bits a second that packets sent again may take."""
        target = self.target
        most = MOST_RESENT if target is None else target * RESENT_SHARE
        return min(MOST_RESENT, max(most, LEAST_RESENT))

    def choose(self, pictures: float, sound: float) -> int:
        """Return the rung to send; what is sent now is given in bits a second."""
        now, sent = self._clock(), pictures + sound
        on_trial = now < self._trial_until
        if self._loses_many() or self._is_too_much(sent):
            self._step_down(sound, on_trial)
        elif not on_trial:
            if self._tried:  # well: the next step may come soon
                self._tried, self._wait = False, self.FIRST_WAIT
            if self.rung > 0 and now - self._changed_at >= self._wait:
                self._step_up(sent)
        return self.rung

    def _step_up(self, sent: float) -> None:
        """Try the next better rung, where the estimate is well above what is sent."""
        target = self.target
        if self.rung == NO_PICTURES or target is None or target >= 1.1 * sent:
            self.rung, self._changed_at = self.rung - 1, self._clock()
            self._trial_until, self._tried = self._changed_at + self.TRIAL_SECONDS, True

    def _loses_many(self) -> bool:
        settled = self._clock() - self._changed_at >= 1.0  # reports are of before
        return self.lost_share > self.MOST_LOST and settled

    def _is_too_much(self, sent: float) -> bool:
        target, now = self.target, self._clock()
        if target is None or self.rung >= self.LEAST_BY_ESTIMATE or now - self._changed_at < 0.5:
            return False
        return now - self._fell_at < 1.0 and target < 0.9 * sent

    def _step_down(self, sound: float, on_trial: bool) -> None:
        now, target = self._clock(), self.target
        place = min(self.rung + 1, NO_PICTURES)
        if target is not None:
            room = target - sound  # 0.85 of what arrived well: that leaves room for what is resent
            while place < self.LEAST_BY_ESTIMATE and RUNGS[place].bitrate > room:
                place += 1
        if on_trial:
            self._wait = min(self._wait * 2, self.LONGEST_WAIT)
        self._tried = False
        self.rung, self._changed_at, self._trial_until = place, now, now
        self.lost_share = 0.0  # what was lost says nothing of the rung to come


class PacketSink(Protocol):
    """Somebody to whom packets go."""

    codec: str | None
    """VP8 or H264; None for who watches no pictures."""
    rate: LineRate

    @property
    def listening(self) -> bool:
        """Whether packets can be sent."""
        ...

    def take_sound(self, block: SoundBlock, packet: Encoded) -> None:
        """Send a block of sound, which is encoded in a packet, too."""
        ...

    def take_picture(self, packets: Iterable[Encoded]) -> None:
        """Send a picture."""
        ...

    def pictures_change(self, rung: Rung | None, step: int) -> None:
        """Take note of what is sent from now on; None is sound alone.

        Of ``step`` pictures one is made for anybody, for want of time.
        """
        ...


@dataclass(slots=True)
class _Watching:
    """What a viewer is sent."""

    rung: int | None = None
    """None until it has had a key picture."""
    wanted: int = 0
    told: tuple[int | None, int] | None = None
    """The rung and the step that it knows of."""


def smoothed_rate(rate: float, size: int, seconds: float) -> float:
    """Return a rate in bits a second after ``size`` bytes more, which stand for some seconds."""
    return rate + (size * 8 / seconds - rate) * min(1.0, seconds / 2)


class VideoEncoding:
    """One rung in one codec. Used by one thread at a time."""

    def __init__(self, codec: str, rung: Rung, encoder: LiveEncoder | None = None) -> None:
        """``encoder`` is the processor's by default, which also stands behind one of a card."""
        self.codec, self.rung = codec, rung
        self.encoder = encoder or LIVE_ENCODERS[codec]
        self.key_wanted = True
        self.key_at = -KEY_SECONDS
        self.rate = 0.0
        """Bits a second, over about two seconds."""
        self._context: Any = None

    def encode(self, frame: VideoFrame, ticks: int, *, key: bool) -> list[Encoded]:
        """Return a picture's packets, timestamped in ticks of 90 kHz."""
        if self._context is None or (self._context.width, self._context.height) != (
            frame.width,
            frame.height,
        ):
            self._context, key = self._open(frame), True
        frame.pts, frame.time_base = ticks, Fraction(1, VIDEO_TICKS)
        frame.pict_type = PictureType.I if key else PictureType.NONE
        try:
            packets = self._context.encode(frame)
        except FFmpegError as error:
            if not self.encoder.on_gpu:
                raise
            log.warning("%s failed (%s): the processor encodes", self.encoder.name, error)
            self.encoder, self._context = LIVE_ENCODERS[self.codec], None
            return self.encode(frame, ticks, key=True)
        return [Encoded.of(packet, self.codec, ticks) for packet in packets]

    def note_sent(self, packets: Iterable[Encoded], seconds: float) -> None:
        """Count a picture, which stands for some seconds."""
        self.rate = smoothed_rate(self.rate, sum(packet.size for packet in packets), seconds)

    def _open(self, frame: VideoFrame) -> Any:
        context: Any = CodecContext.create(self.encoder.name, "w")
        context.width, context.height, context.pix_fmt = frame.width, frame.height, "yuv420p"
        context.time_base, context.framerate = Fraction(1, VIDEO_TICKS), Fraction(25)
        rate = context.bit_rate = self.rung.bitrate
        context.gop_size = 30_000  # a key picture where it is asked for, and nowhere else
        context.thread_count = 1
        limits = {"maxrate": str(rate), "bufsize": str(rate // 2)}
        if self.codec == "VP8":
            context.qmin, context.qmax = 2, 56
            limits |= {"minrate": str(rate)}
        context.options = self.encoder.options | limits
        return context


class EncodingPool:
    """The threads that encode pictures for all stages of a server, and how they are measured."""

    def __init__(self, metrics: ServerMetrics, size: int = DEFAULT_SIZE) -> None:
        """``size`` is the longest side of the best rung; an avatar's own where that is less."""
        self.metrics, self.size = metrics, size
        self.threads = ThreadPoolExecutor(usable_cores(), thread_name_prefix="encode")
        choice = live_encoder("H264")
        log.info("H.264 is encoded by %s: %s", choice.encoder.name, choice.reason)
        self.encoders = LIVE_ENCODERS | {"H264": choice.encoder}

    def close(self) -> None:
        """End the threads."""
        self.threads.shutdown(wait=False, cancel_futures=True)


@dataclass(slots=True)
class _Work:
    """A picture to encode."""

    picture: ShownPicture
    encodings: list[tuple[VideoEncoding, bool]] = field(default_factory=list)
    """And whether as a key picture."""


class EncoderHub:
    """A stage's encoders and those who watch. A sink of the stage; the event loop's."""

    def __init__(
        self, stage: Stage, pool: EncodingPool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.stage, self._pool, self._clock = stage, pool, clock
        self._viewers: dict[PacketSink, _Watching] = {}
        self._encodings: dict[tuple[str, int], VideoEncoding] = {}
        self._sound: SoundEncoder | None = None
        self._sound_rate = 0.0
        self._busy: asyncio.Task[None] | None = None
        self._next: ShownPicture | None = None
        self._shown = 0
        self._times: deque[float] = deque(maxlen=25)
        self._stepped_at, self._back_seconds = clock(), _BACK_SECONDS
        self._on_trial = False  # the last step was one to more pictures
        self.lost = 0

    def add(self, viewer: PacketSink) -> None:
        """Send to somebody from now on."""
        if not self._viewers:
            self.stage.attach(self)
        self._viewers[viewer] = _Watching()

    def remove(self, viewer: PacketSink) -> None:
        """Send nothing more. Twice is fine."""
        if self._viewers.pop(viewer, None) is not None and not self._viewers:
            self.stage.detach(self)
            self._encodings.clear()
            self._sound = None

    def ask_for_key(self, viewer: PacketSink) -> None:
        """Send a viewer a key picture soon: its decoder lost its way."""
        watching = self._viewers.get(viewer)
        if watching is not None and viewer.codec is not None and watching.rung is not None:
            self._encoding(viewer.codec, watching.rung).key_wanted = True

    def sent_rate(self, viewer: PacketSink) -> float:
        """Return the bits a second that a viewer's pictures take."""
        watching = self._viewers.get(viewer)
        if watching is None or watching.rung is None or viewer.codec is None:
            return 0.0
        return self._encoding(viewer.codec, watching.rung).rate

    def on_media(self, item: SoundBlock | ShownPicture) -> None:
        """Encode what is due and send it: sound at once, pictures when a thread has made them."""
        if isinstance(item, SoundBlock):
            self._on_sound(item)
        elif self._busy is not None:
            self.lost += self._next is not None
            self._next = item
        else:
            self._begin(item)

    def _on_sound(self, block: SoundBlock) -> None:
        if self._sound is None:
            self._sound = SoundEncoder()
        for packet in self._sound.encode(block):
            self._sound_rate = smoothed_rate(self._sound_rate, packet.size, len(block.pcm) / RATE)
            for viewer in list(self._viewers):
                viewer.take_sound(block, packet)
        if block.sample % RATE == 0:
            for viewer in self._viewers:
                self._pool.metrics.line_rate.observe(self.sent_rate(viewer) + self._sound_rate)

    def _begin(self, picture: ShownPicture) -> None:
        self._shown += 1
        work = _Work(picture)
        for (_, place), encoding in self._watched().items():
            key = encoding.key_wanted and self._clock() - encoding.key_at >= KEY_SECONDS
            if key or self._shown % RUNGS[place].every == 0:
                work.encodings.append((encoding, key))
        if work.encodings:
            self._busy = asyncio.create_task(self._encode(work), name="encode a picture")

    def _watched(self) -> dict[tuple[str, int], VideoEncoding]:
        """Return the encodings that somebody watches or waits for; forget the others."""
        watched: dict[tuple[str, int], VideoEncoding] = {}
        for viewer, watching in self._viewers.items():
            if viewer.codec is None or not viewer.listening:
                continue
            watching.wanted = viewer.rate.choose(self.sent_rate(viewer), self._sound_rate)
            if watching.wanted == NO_PICTURES:
                watching.rung = None
                self._tell(viewer, watching)
                continue
            wanted = self._encoding(viewer.codec, watching.wanted)
            wanted.key_wanted |= watching.rung != watching.wanted
            watched[viewer.codec, watching.wanted] = wanted
            if watching.rung is not None:  # until the key picture of the other is there
                watched[viewer.codec, watching.rung] = self._encoding(viewer.codec, watching.rung)
        self._encodings = watched
        return watched

    def _encoding(self, codec: str, place: int) -> VideoEncoding:
        encoding = self._encodings.get((codec, place))
        if encoding is None:
            encoder = self._pool.encoders[codec]
            encoding = self._encodings[codec, place] = VideoEncoding(codec, RUNGS[place], encoder)
        return encoding

    async def _encode(self, work: _Work) -> None:
        begun = self._clock()
        loop = asyncio.get_running_loop()
        try:
            made = await loop.run_in_executor(self._pool.threads, self._encode_all, work)
            self._hand_out([encoding for encoding, _ in work.encodings], made)
        except Exception:  # the root of a picture: the next is tried anew
            log.exception("a picture could not be encoded")
            self._encodings.clear()
        finally:
            self._busy = None
        took = self._clock() - begun
        self._pool.metrics.picture_encoding.observe(took)
        self._watch_the_time(took)
        if (waiting := self._next) is not None:
            self._next = None
            self._begin(waiting)

    def _encode_all(self, work: _Work) -> list[list[Encoded]]:
        """Encode a picture in every rung. On a thread of the pool."""
        whole = video_frame(work.picture.frame)
        longest = max(whole.width, whole.height)
        top = Fraction(min(self._pool.size, longest), longest)
        ticks = work.picture.sample * VIDEO_TICKS // RATE
        sizes: dict[Fraction, VideoFrame] = {}
        made = []
        for encoding, key in work.encodings:
            share = encoding.rung.share * top
            if share not in sizes:
                sides = (max(2, int(side * share) // 2 * 2) for side in (whole.width, whole.height))
                sizes[share] = scaled(whole, *sides)
            made.append(encoding.encode(sizes[share], ticks, key=key))
        return made

    def _hand_out(self, encodings: list[VideoEncoding], made: list[list[Encoded]]) -> None:
        """Send each viewer one rung's packets, of the rung it waits for once that has a key."""
        given: dict[tuple[str, int], list[Encoded]] = {}
        fresh: set[tuple[str, int]] = set()
        for encoding, packets in zip(encodings, made, strict=True):
            which = encoding.codec, RUNGS.index(encoding.rung)
            given[which] = packets
            if any(packet.is_keyframe for packet in packets):
                fresh.add(which)
                encoding.key_at, encoding.key_wanted = self._clock(), False
                self._pool.metrics.key_pictures.inc()
            steps = encoding.rung.every * self.stage.conversation.picture_step
            encoding.note_sent(packets, PICTURE_SECONDS * steps)
        for viewer, watching in list(self._viewers.items()):
            if viewer.codec is None or not viewer.listening:
                continue
            if (viewer.codec, watching.wanted) in fresh:
                watching.rung = watching.wanted
            if watching.rung is not None:
                self._tell(viewer, watching)
            if watching.rung is not None and (viewer.codec, watching.rung) in given:
                viewer.take_picture(given[viewer.codec, watching.rung])

    def _tell(self, viewer: PacketSink, watching: _Watching) -> None:
        """Tell a viewer what it is sent, when that has changed."""
        now = watching.rung, self.stage.conversation.picture_step
        if now != watching.told:
            watching.told = now
            viewer.pictures_change(None if watching.rung is None else RUNGS[watching.rung], now[1])

    def _watch_the_time(self, took: float) -> None:
        """Make fewer pictures where their time is not enough, and more again where it is."""
        self._times.append(took / PICTURE_SECONDS)
        now, place = self._clock(), STEPS.index(self.stage.conversation.picture_step)
        median = sorted(self._times)[len(self._times) // 2]
        since = now - self._stepped_at
        fewer = median > _LATE_SHARE * STEPS[place] and place + 1 < len(STEPS)
        if fewer and since > _STEP_SECONDS:
            if self._on_trial:
                failed = since < self._back_seconds
                longer = min(2 * self._back_seconds, _LONGEST_BACK_SECONDS)
                self._back_seconds = longer if failed else _BACK_SECONDS
            self._on_trial = False
            self._step(place + 1)
        elif place > 0 and median < _EARLY_SHARE * STEPS[place - 1] and since > self._back_seconds:
            self._on_trial = True
            self._step(place - 1)

    def _step(self, place: int) -> None:
        self.stage.conversation.picture_step, self._stepped_at = STEPS[place], self._clock()
        self._times.clear()
        log.info("stage %s: every %d. picture is made", self.stage.name[:6], STEPS[place])
