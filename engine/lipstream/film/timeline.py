"""What a film is made of: which of its frames are spoken by which piece of sound.

Times of the film are seconds since the part of it that is used begins. All is exact: a range
starts with the frame that shows when its sound begins, and the sound waits for its own sample.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from lipstream.errors import InputError, MediaError
from lipstream.film.job import LARGEST, WHOLE, Cut, FaceChoice
from lipstream.lips.phones import Phone
from lipstream.media import Sound, SoundFile, SoundReader
from lipstream.speech import SpokenSentence, load_phones, load_sentences
from lipstream.timing import Timing

_LEAST_FRAMES = 1
_APART = 50
"""Spans closer than this many frames are looked at as one."""


PHONE_RATE = 48_000


@dataclass(frozen=True, slots=True)
class SoundClip:
    """A checked piece of sound."""

    sound: SoundFile
    start_s: Fraction
    length_s: Fraction
    name: str
    """What messages call it."""
    phones: tuple[Phone, ...] = ()
    """What is spoken when, where it is known: samples of a clock of PHONE_RATE, from the start of
    the sound."""
    sentences: tuple[SpokenSentence, ...] = ()
    """What is said when, where it is known, on the same clock."""

    @classmethod
    def open(cls, path: Path, cut: Cut = WHOLE, name: str | None = None) -> "SoundClip":
        """Check a sound file and the part of it that is wanted, and read the phones known of it.

        Raises MediaError, InputError for phones that cannot be understood.
        """
        clip = cls.of(SoundFile.open(path), cut, name)
        known = load_sentences(path, PHONE_RATE)
        return replace(clip, phones=load_phones(path, PHONE_RATE), sentences=known)

    @classmethod
    def of(cls, sound: SoundFile, cut: Cut = WHOLE, name: str | None = None) -> "SoundClip":
        """Check the part of a sound that is wanted, which need not lie at its path here.

        Raises MediaError.
        """
        name = name or sound.path.name
        stop = sound.seconds if cut.stop_s is None else cut.stop_s
        if not 0 <= cut.start_s < stop or stop > sound.seconds + Fraction(1, 100):
            raise MediaError(
                f"{name} lasts {float(sound.seconds):.2f} s: the part from"
                f" {float(cut.start_s):g} to {float(stop):g} s is not in it"
            )
        length_s = min(stop, sound.seconds) - cut.start_s
        return cls(sound, cut.start_s, length_s, name)

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the file is left out."""
        return self.start_s == 0 and self.length_s == self.sound.seconds


@dataclass(frozen=True, slots=True)
class SpokenRange:
    """Frames that are spoken by one clip."""

    clip: SoundClip
    start: int
    """First frame."""
    stop: int
    """One past the last frame."""
    wait: int
    """Samples of silence between the start of the first frame and that of the clip."""
    samples: int
    """Samples of the clip that are heard."""
    who: FaceChoice = LARGEST


@dataclass(frozen=True, slots=True)
class EditTimeline:
    """A whole film: its frames, and the spoken ranges among them in order of time."""

    fps: Fraction
    rate: int
    """Samples a second of the sound."""
    channels: int
    frames: int
    spoken_ranges: tuple[SpokenRange, ...]

    def start_of(self, frame: int) -> int:
        """Return the sample at which a frame starts to show, as ``Timing`` does."""
        return int(frame * self.rate / self.fps)

    @property
    def samples(self) -> int:
        """All samples of the film: to the end of its last frame, or of the clip that ends it."""
        whole = self.start_of(self.frames)
        last = self.spoken_ranges[-1] if self.spoken_ranges else None
        if last is None or last.stop < self.frames:
            return whole
        return min(whole, self.start_of(last.start) + last.wait + last.samples)

    def ranges(self) -> Iterator["FrameRange"]:
        """Yield spoken ranges and what lies between them, in order, every frame once."""
        at = 0
        for spoken_range in self.spoken_ranges:
            if spoken_range.start > at:
                yield FrameRange(at, spoken_range.start, None)
            yield FrameRange(spoken_range.start, spoken_range.stop, spoken_range)
            at = spoken_range.stop
        if at < self.frames:
            yield FrameRange(at, self.frames, None)


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Frames that are spoken by one clip, or left as they are."""

    start: int
    stop: int
    spoken_range: SpokenRange | None


@dataclass(frozen=True, slots=True)
class ClipPlacement:
    """A clip and where it goes."""

    clip: SoundClip
    at_s: Fraction = Fraction(0)
    until_s: Fraction | None = None
    who: FaceChoice = LARGEST


def place_clips(
    spoken: Sequence[ClipPlacement], timing: Timing, film_frames: int | None
) -> list[SpokenRange]:
    """Lay clips on frames, in order of time.

    ``film_frames`` is the film's length, None for a picture, which has no end. Raises InputError
    for a clip outside the film, one that ends before it begins, and clips that overlap.
    """
    ordered = sorted(spoken, key=lambda one: one.at_s)
    spoken_ranges: list[SpokenRange] = []
    for one in ordered:
        name = one.clip.name
        spoken_range = _spoken_range(one, timing)
        if film_frames is not None and not 0 <= spoken_range.start < film_frames:
            raise InputError(
                f"{name} is to be spoken from {float(one.at_s):g} s, outside the film, which lasts"
                f" {float(film_frames / timing.fps):.2f} s: give an earlier time"
            )
        if spoken_ranges and spoken_range.start < spoken_ranges[-1].stop:
            raise InputError(
                f"{name}, from {float(one.at_s):g} s, overlaps {spoken_ranges[-1].clip.name},"
                f" which ends at {float(spoken_ranges[-1].stop / timing.fps):.2f} s: move one of"
                " them, or cut it short with 'until'"
            )
        spoken_ranges.append(spoken_range)
    return spoken_ranges


def _spoken_range(one: ClipPlacement, timing: Timing) -> SpokenRange:
    length = one.clip.length_s
    if one.until_s is not None:
        if one.until_s <= one.at_s:
            raise InputError(
                f"{one.clip.name} is to be spoken from {float(one.at_s):g} to"
                f" {float(one.until_s):g} s: the end must come after the beginning"
            )
        length = min(length, one.until_s - one.at_s)
    start = int(one.at_s * timing.fps // 1)
    wait = int(one.at_s * timing.rate) - timing.frame_start(start)
    samples = max(1, math.ceil(length * timing.rate))
    frames = max(_LEAST_FRAMES, timing.frame_count(wait + samples))
    return SpokenRange(one.clip, start, start + frames, wait, samples, one.who)


def end_at(spoken_ranges: Sequence[SpokenRange], frames: int, timing: Timing) -> list[SpokenRange]:
    """Return the ranges with what lies past frame ``frames`` cut off."""
    trimmed: list[SpokenRange] = []
    for spoken_range in spoken_ranges:
        stop = min(spoken_range.stop, frames)
        samples = (
            timing.frame_start(stop) - timing.frame_start(spoken_range.start) - spoken_range.wait
        )
        if stop == spoken_range.stop:
            trimmed.append(spoken_range)
        elif samples > 0:
            trimmed.append(
                replace(spoken_range, stop=stop, samples=min(spoken_range.samples, samples))
            )
    return trimmed


def search_ranges(timeline: EditTimeline, film_frames: int) -> list[range]:
    """Return which frames of a film are spoken, in order and apart: all of it when it repeats."""
    spans: list[range] = []
    for spoken_range in timeline.spoken_ranges:
        if spoken_range.stop > film_frames:
            return [range(film_frames)] if spoken_range.start < film_frames else spans
        if spans and spoken_range.start - spans[-1].stop <= _APART:
            spans[-1] = range(spans[-1].start, spoken_range.stop)
        else:
            spans.append(range(spoken_range.start, spoken_range.stop))
    return spans


_BLOCKS_A_SECOND = 10


@dataclass(frozen=True, slots=True)
class BackgroundSound:
    """What is heard between the clips."""

    sound: SoundFile | None
    """None for silence."""
    skipped_s: Fraction = Fraction(0)
    """What of it lies before the film's first frame, seconds; negative when it begins after."""


def read_sound(timeline: EditTimeline, own: BackgroundSound) -> Iterator[Sound]:
    """Yield the film's sound from its first sample to its last."""
    rate, channels = timeline.rate, timeline.channels
    background = SoundReader(own.sound, rate, channels)
    skipped = round(own.skipped_s * rate)
    background.skip(max(0, skipped)).wait(max(0, -skipped))
    largest, at = rate // _BLOCKS_A_SECOND, 0
    for spoken_range in timeline.spoken_ranges:
        begin = timeline.start_of(spoken_range.start) + spoken_range.wait
        samples = min(spoken_range.samples, timeline.samples - begin)
        yield from background.blocks(begin - at, largest)
        clip = SoundReader(spoken_range.clip.sound, rate, channels)
        clip.skip(int(spoken_range.clip.start_s * rate))
        yield from clip.blocks(samples, largest)
        background.skip(samples)
        at = begin + samples
    yield from background.blocks(timeline.samples - at, largest)
