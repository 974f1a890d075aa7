from fractions import Fraction

import numpy as np
import pytest

from lipstream.errors import InputError, MediaError
from lipstream.film.job import Cut
from lipstream.film.timeline import (
    BackgroundSound,
    ClipPlacement,
    EditTimeline,
    SoundClip,
    end_at,
    place_clips,
    read_sound,
    search_ranges,
)
from lipstream.media import SoundFile
from lipstream.timing import Timing
from media_files import tone, write_wav

RATE = 16_000
TIMING = Timing(RATE, Fraction(25))


@pytest.fixture
def clip(tmp_path):
    """A second of sound."""
    return SoundClip.open(write_wav(tmp_path / "a.wav", tone(RATE, RATE), RATE))


@pytest.fixture
def own(tmp_path):
    """Four seconds of another sound, which counts its own samples."""
    pcm = (np.arange(4 * RATE) % 30_000).astype(np.int16)
    return SoundFile.open(write_wav(tmp_path / "own.wav", pcm, RATE))


def timeline_of(spoken, frames, timing=TIMING):
    return EditTimeline(timing.fps, RATE, 1, frames, tuple(place_clips(spoken, timing, frames)))


def heard(timeline, own=None):
    return np.concatenate(list(read_sound(timeline, BackgroundSound(own))))[:, 0]


def test_a_clip_begins_on_its_own_sample_whatever_the_frames(clip):
    timeline = timeline_of([ClipPlacement(clip, Fraction("0.53"))], 100)
    (spoken_range,) = timeline.spoken_ranges
    assert spoken_range.start == 13
    assert timeline.start_of(13) + spoken_range.wait == int(0.53 * RATE)
    assert np.array_equal(heard(timeline)[8480 : 8480 + RATE], tone(RATE, RATE))


def test_the_films_own_sound_goes_on_between_clips_to_the_sample(clip, own):
    spoken = [ClipPlacement(clip, Fraction(1)), ClipPlacement(clip, Fraction("2.5"), Fraction(3))]
    sound = heard(timeline_of(spoken, 100), own)
    wanted = (np.arange(4 * RATE) % 30_000).astype(np.int16)
    wanted[RATE : 2 * RATE] = tone(RATE, RATE)
    wanted[40_000:48_000] = tone(RATE, RATE)[:8000]
    assert len(sound) == 4 * RATE
    assert np.array_equal(sound, wanted)


def test_a_films_sound_that_begins_late_or_is_cut_stays_in_step(clip, own):
    timeline = timeline_of([ClipPlacement(clip, Fraction(3))], 100)
    late = np.concatenate(list(read_sound(timeline, BackgroundSound(own, Fraction(-1, 2)))))[:, 0]
    assert not late[:8000].any()
    assert np.array_equal(late[8000:16_000], np.arange(8000))
    cut = np.concatenate(list(read_sound(timeline, BackgroundSound(own, Fraction(1, 2)))))[:, 0]
    assert np.array_equal(cut[:8000], np.arange(8000, 16_000))


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30_000, 1001), Fraction(7), Fraction(60)])
def test_every_frame_is_in_one_range_and_spoken_ranges_cover_their_sound(clip, fps):
    timing = Timing(RATE, fps)
    frames = int(10 * fps)
    spoken = [ClipPlacement(clip, Fraction(at)) for at in ("0", "1.51", "4.333", "8.9")]
    timeline = timeline_of(spoken, frames, timing)
    ranges = list(timeline.ranges())
    assert [k for s in ranges for k in range(s.start, s.stop)] == list(range(frames))
    for spoken_range in timeline.spoken_ranges:
        end = timeline.start_of(spoken_range.start) + spoken_range.wait + spoken_range.samples
        assert timeline.start_of(spoken_range.stop) >= end - 1
        assert timeline.start_of(spoken_range.stop - 1) < end


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ([("9", None)], "outside the film"),
        ([("1", "1")], "the end must come after"),
        ([("1", None), ("1.5", None)], "overlaps a.wav, which ends at 2.00 s"),
    ],
)
def test_segments_that_do_not_fit_are_named(clip, times, says):
    spoken = [
        ClipPlacement(clip, Fraction(at), None if until is None else Fraction(until))
        for at, until in times
    ]
    with pytest.raises(InputError, match=says):
        place_clips(spoken, TIMING, 100)


@pytest.mark.parametrize(("start", "stop"), [("1", None), ("0.5", "0.5"), ("0", "1.2")])
def test_a_part_that_is_not_in_the_sound_is_said(clip, start, stop):
    cut = Cut(Fraction(start), None if stop is None else Fraction(stop))
    with pytest.raises(MediaError, match=r"lasts 1.00 s"):
        SoundClip.open(clip.sound.path, cut)


def test_a_spoken_range_can_be_ended_early(clip):
    (spoken_range,) = end_at(place_clips([ClipPlacement(clip)], TIMING, None), 10, TIMING)
    assert (spoken_range.stop, spoken_range.samples) == (10, 6400)


def test_only_what_is_spoken_has_to_be_looked_at(clip):
    spoken = [ClipPlacement(clip, Fraction(at)) for at in (2, 4, 20)]
    assert search_ranges(timeline_of(spoken, 1000), 1000) == [range(50, 125), range(500, 525)]
