"""How many pictures a film gives, by its time stamps alone."""

import fractions
import math
import sys
from fractions import Fraction

import av
import pytest
from av.video.frame import VideoFrame

from lipstream.media import FilmReader
from media_files import numbered, write_film

NTSC = Fraction(30_000, 1001)
TICK, MILLISECOND = Fraction(1, 90_000), Fraction(1, 1000)
VARYING = (0, 33, 67, 100, 133, 400, 700, 1000, 1033, 1066, 1100, 1133, 1166, 1200)
RATES = (NTSC, Fraction(25), Fraction(50), Fraction(7), Fraction(24_000, 1001))


def stamped(path, stamps, base, delayed=0, *, lengths=True):
    """Write a film whose pictures have the given times, with ``delayed`` B-frames in a row.

    Without ``lengths`` it says neither a rate nor how long each picture stays.
    """
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container:
        stream = container.add_stream("libx264", rate=30, options={"bf": str(delayed)})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.time_base = stream.codec_context.time_base = base
        if not lengths:
            stream.codec_context.framerate = Fraction(0)
        for picture, stamp in zip(numbered(len(stamps)), stamps, strict=True):
            frame = VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = stamp, base
            mux(container, stream.encode(frame), lengths)
        mux(container, stream.encode(None), lengths)
    return path


def mux(container, packets, lengths):
    for packet in packets:
        if not lengths:
            packet.duration = 0
        container.mux(packet)


def packets_of(path):
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def counted_by_fractions(film, fps):
    """Return what the time stamps say, in the plainest arithmetic there is."""
    with av.open(str(film.path)) as container:
        first = next(container.decode(video=0))
        start = None if first.pts is None else first.pts * first.time_base
    usual = 1 / film.fps
    last = end = Fraction(0)
    for index, packet in enumerate(p for p in packets_of(film.path) if not p.is_discard):
        time = index * usual
        if packet.pts is not None and start is not None:
            time = packet.pts * packet.time_base - start
        known = (packet.duration or 0) * packet.time_base
        last = max(last, time)
        end = max(end, time + (known if usual / 2 < known < usual else usual))
    return max(1, math.ceil(last * fps - Fraction(1, 4)), round(end * fps))


def ticks_that_begin_late(folder):
    """In ticks of 1/90000 at 30000/1001 pictures a second, the first at 1001/15000 s."""
    return write_film(folder / "a.ts", numbered(40), NTSC)


def coarse_ticks(folder):
    """Milliseconds, into which neither the times nor the durations fit."""
    return write_film(folder / "a.mkv", numbered(40), NTSC)


def varying_rate(folder):
    return stamped(folder / "a.mp4", VARYING, MILLISECOND)


def edit_list(folder):
    """Ten pictures lie before the film's beginning and are not shown."""
    path = stamped(folder / "a.mp4", range(-10 * 3003, 30 * 3003, 3003), TICK, delayed=2)
    assert [packet.is_discard for packet in packets_of(path)].count(True) == 10
    assert packets_of(path)[0].pts < 0
    return path


def late_start(folder):
    path = stamped(folder / "a.mp4", range(7 * 3003, 37 * 3003, 3003), TICK, delayed=2)
    assert packets_of(path)[0].pts > 0
    return path


def no_durations(folder):
    path = stamped(folder / "a.mkv", VARYING, MILLISECOND, lengths=False)
    assert not any(packet.duration for packet in packets_of(path))
    return path


def no_stamps(folder):
    path = write_film(folder / "a.h264", numbered(40), NTSC)
    assert all(packet.pts is None for packet in packets_of(path))
    return path


FILMS = (
    ticks_that_begin_late,
    coarse_ticks,
    varying_rate,
    edit_list,
    late_start,
    no_durations,
    no_stamps,
)


@pytest.mark.parametrize("make", FILMS, ids=lambda make: make.__name__)
def test_pictures_are_counted_exactly_whatever_the_time_stamps(tmp_path, make):
    film = FilmReader(make(tmp_path))
    for rate in (film.fps, *RATES):
        assert film.count(rate) == counted_by_fractions(film, rate)
        assert film.count(rate) == len(list(film.pictures(rate)))


def test_a_long_film_takes_no_more_arithmetic_with_fractions_than_a_short_one(tmp_path):
    short = FilmReader(write_film(tmp_path / "short.mp4", numbered(5), NTSC))
    long = FilmReader(write_film(tmp_path / "long.mp4", numbered(50), NTSC))
    assert _calls_of_fractions(long.count) == _calls_of_fractions(short.count)


def _calls_of_fractions(work):
    calls = 0

    def note(frame, event, _):
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename == fractions.__file__

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls
