"""From a job to all that is needed to render it: checked, before anything is written."""

import contextlib
import glob
import hashlib
from collections.abc import Collection, Generator, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from lipstream.avatar.making import DEFAULT_FPS, LONGEST_SIDE
from lipstream.avatar.pack import Avatar, is_avatar
from lipstream.errors import InputError, LipstreamError, MediaError
from lipstream.film.avatar_source import AvatarFace, LoopedFace, PictureFace
from lipstream.film.captions import SUFFIXES, check_drawable, film_captions
from lipstream.film.job import WHOLE, FaceChoice, RenderJob, Segment, SpokenText, check_options
from lipstream.film.provenance import check_label, check_signing
from lipstream.film.timeline import (
    BackgroundSound,
    ClipPlacement,
    EditTimeline,
    SoundClip,
    SpokenRange,
    end_at,
    place_clips,
    read_sound,
    search_ranges,
)
from lipstream.film.video_source import VideoSource
from lipstream.inference.model import MouthModel
from lipstream.machine import usable_cores
from lipstream.media import (
    AudioTrack,
    Colours,
    Encoding,
    FilmExtras,
    FilmFormat,
    FilmReader,
    SoundFile,
    check_film_name,
    has_sound,
    is_picture,
    playable_rate,
    read_picture,
    resolve_encoding,
    shrunk,
)
from lipstream.speech import SpeechSettings, open_voice, write_speech
from lipstream.timing import Timing

_SHEET_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_UNITS_SUFFIXES = {".csv", ".json"}
_NAME = 32
"""Letters of a text by which messages call it."""


@dataclass(frozen=True, slots=True)
class RenderPlan:
    """What a job comes to: its files open and checked, its frames laid out."""

    job: RenderJob
    face: VideoSource | LoopedFace
    timeline: EditTimeline
    background: BackgroundSound
    encoding: Encoding
    model: MouthModel

    @property
    def shape(self) -> FilmFormat:
        """Shape of the film to write."""
        face, encoding = self.face, self.encoding
        film = face.film if isinstance(face, VideoSource) else None
        aspect = Fraction(1) if film is None else film.pixel_aspect
        colours = Colours() if film is None else film.colours
        assert encoding.video is not None
        return FilmFormat(
            *(*face.shown_size, face.fps, aspect),
            *(encoding.video, encoding.quality, colours),
        )

    @property
    def extras(self) -> FilmExtras | None:
        """What else is in the face's film, None where the face is none."""
        if not isinstance(self.face, VideoSource):
            return None
        film, timeline = self.face.film, self.timeline
        start = film.start + self.face.first / self.face.fps
        return FilmExtras(film.path, start, timeline.frames / timeline.fps)

    def notes(self) -> list[str]:
        """Say what of the face's film is not in the output, a sentence each."""
        if not isinstance(self.face, VideoSource) or self.extras is None:
            return []
        name, output = self.face.film.path.name, self.job.output
        left = [
            f"{one} of {name} does not fit into {output.suffix} and is left out; .mkv holds most"
            for one in self.extras.left_out(output)
        ]
        if self.face.film.has_transparency:
            left.append(f"the transparent parts of {name} lie on grey")
        return left

    def sound_track(self) -> AudioTrack:
        """Return the film's sound, to be walked through once."""
        assert self.encoding.audio is not None
        timeline = self.timeline
        blocks = read_sound(timeline, self.background)
        copied = self.job.sound
        return AudioTrack(timeline.rate, timeline.channels, self.encoding.audio, blocks, copied)

    @property
    def frames_to_search(self) -> list[range]:
        """Frames of the video in which faces have to be found."""
        if not isinstance(self.face, VideoSource) or self.job.box is not None:
            return []
        if self.job.ends == "cut" or self.timeline.frames <= self.face.count:
            return search_ranges(self.timeline, self.face.count)
        return [range(self.face.count)]


@contextlib.contextmanager
def open_plan(job: RenderJob) -> Generator[RenderPlan]:
    """Plan a job, with its texts spoken and its model open as long as the block runs.

    Raises LipstreamError before anything is written that stays.
    """
    check_outputs(job)
    with ExitStack() as stack:
        job = stack.enter_context(speak_texts(job))
        opened = MouthModel.open(
            job.model, backend=job.backend, precision=job.precision, frame_threads=usable_cores()
        )
        yield make_plan(job, stack.enter_context(opened))


def make_plan(job: RenderJob, model: MouthModel) -> RenderPlan:
    """Open and check all that a job names. Raises LipstreamError."""
    encoding = resolve_encoding(job.encoding, job.output)
    assert encoding.audio is not None
    spoken = _spoken(job)
    check_options(job)
    face = open_face(job)
    background = _background_sound(job, face)
    sounds = [one.clip.sound for one in spoken]
    if background.sound is not None:
        sounds.insert(0, background.sound)
    rate = playable_rate(sounds[0].rate, encoding.audio)
    channels = min(2, max(sound.channels for sound in sounds))
    timing = model.timing(rate, face.fps)
    film_frames = face.count if isinstance(face, VideoSource) else None
    spoken_ranges, frames = _lay_out(job, spoken, timing, film_frames)
    timeline = EditTimeline(face.fps, rate, channels, frames, tuple(spoken_ranges))
    _check_copy(job, encoding, timeline)
    if job.units is not None and model.manifest.paints != "shape":
        raise InputError("--units needs a model that says how the lips stand: quality or low-delay")
    plan = RenderPlan(job, face, timeline, background, encoding, model)
    _check_captions(plan)
    return plan


def _check_captions(plan: RenderPlan) -> None:
    """Raise InputError for captions that cannot be written or drawn."""
    if plan.job.captions is None and not plan.job.burn_captions:
        return
    captions = film_captions(plan.timeline)
    if not captions:
        name = plan.timeline.spoken_ranges[0].clip.name
        raise InputError(
            f"nobody knows the words of {name}: captions are made of texts (--text), and of sounds"
            " that were spoken from them here"
        )
    if plan.job.burn_captions:
        check_drawable(captions)


def check_outputs(job: RenderJob) -> None:
    """Raise LipstreamError for files that cannot be written as asked."""
    check_film_name(job.output)
    asked = (("--sheet", job.sheet), ("--units", job.units), ("--captions", job.captions))
    for option, path in (("-o", job.output), *asked):
        for source in job.sources:
            if path is not None and path.exists() and source.exists() and source.samefile(path):
                raise MediaError(f"{path} is also an input: choose another name with {option}")
    if job.label is not None:
        check_label(job.label)
    if job.sheet is not None:
        _check_name(job.sheet, _SHEET_SUFFIXES, "a contact sheet")
    if job.units is not None:
        _check_name(job.units, _UNITS_SUFFIXES, "a table of units")
    if job.captions is not None:
        _check_name(job.captions, SUFFIXES, "captions")
    if job.certificate is not None:
        check_signing(job.certificate, job.output)


def _check_name(path: Path, suffixes: Collection[str], what: str) -> None:
    """Raise MediaError for a place or name unfit."""
    if path.suffix.lower() not in suffixes:
        endings = ", ".join(sorted(suffixes))
        raise MediaError(f"cannot write {path.name}: {what}'s name ends in {endings}")
    if not path.parent.is_dir():
        raise MediaError(f"cannot write {path}: there is no folder {path.parent}; make it first")


def open_face(job: RenderJob) -> VideoSource | LoopedFace:
    """Open the job's face: an avatar pack, the name of an embedded avatar, a picture or a film.

    Raises MediaError or AvatarError when it cannot be read, InputError for parts that are not in
    it. Whether it shows a face is seen when it is rendered.
    """
    if is_avatar(job.face):
        avatar = Avatar.open(job.face)
        own = DEFAULT_FPS if len(avatar) == 1 else avatar.fps
        return AvatarFace(avatar, job.fps or own, job.view)
    if is_picture(job.face):
        return PictureFace(job.view.of(shrunk(read_picture(job.face), LONGEST_SIDE)), job)
    film = FilmReader(job.face)
    return VideoSource(film, job.fps or film.fps, job.face_cut, job.view)


def _spoken(job: RenderJob) -> list[ClipPlacement]:
    if (job.sound is None) == (not job.segments):
        raise InputError("give one sound for all of the film, or segments: not both, not neither")
    if job.sound is not None:
        return [ClipPlacement(SoundClip.open(job.sound, job.sound_cut), who=job.who)]
    if job.sound_cut != WHOLE:
        raise InputError(
            "--audio-from and --audio-to cut one sound for all of the film: give a segment its own"
            " from= and to="
        )
    return [_spoken_segment(one, job.who) for one in job.segments]


def _spoken_segment(one: Segment, default: FaceChoice) -> ClipPlacement:
    assert isinstance(one.sound, Path), "texts are spoken before a job gets here"
    clip = SoundClip.open(one.sound, one.cut, one.name)
    return ClipPlacement(clip, one.at_s, one.until_s, one.who or default)


def _background_sound(job: RenderJob, face: VideoSource | LoopedFace) -> BackgroundSound:
    """Return what is heard between the clips: nothing where the film ends with its one clip."""
    wanted = bool(job.segments) or job.keep
    if not wanted or not isinstance(face, VideoSource) or not has_sound(face.film.path):
        return BackgroundSound(None)
    skipped = Fraction(face.first) / face.fps - face.film.sound_start
    return BackgroundSound(SoundFile.open(face.film.path), skipped)


def _lay_out(
    job: RenderJob, spoken: list[ClipPlacement], timing: Timing, film_frames: int | None
) -> tuple[list[SpokenRange], int]:
    """Return the spoken ranges and the number of frames of the whole film."""
    spoken_ranges = place_clips(spoken, timing, film_frames)
    last = spoken_ranges[-1].stop
    if film_frames is None:
        return spoken_ranges, last
    if job.segments:
        if last > film_frames:
            late = spoken_ranges[-1].clip.name
            raise InputError(
                f"{late} would be spoken until {float(last / timing.fps):.2f} s, but the film ends"
                f" at {float(film_frames / timing.fps):.2f} s: begin earlier, or give 'until'"
            )
        return spoken_ranges, film_frames
    if last > film_frames and job.ends == "cut":
        return end_at(spoken_ranges, film_frames, timing), film_frames
    return spoken_ranges, max(last, film_frames) if job.keep else last


def _check_copy(job: RenderJob, encoding: Encoding, timeline: EditTimeline) -> None:
    if encoding.audio != "copy":
        return
    whole = len(timeline.spoken_ranges) == 1 and timeline.spoken_ranges[0].clip.is_whole
    if not whole or job.segments or job.keep or job.ends == "cut":
        raise InputError(
            "sound can be copied only when one whole file is the film's sound: leave out"
            " '--audio copy', or the segments, cuts and kept parts"
        )


@contextlib.contextmanager
def speak_texts(job: RenderJob) -> Generator[RenderJob]:
    """Give the job with sound files in place of its texts; a job without a text as it is.

    Raises LipstreamError when a text cannot be spoken; then no file is left.
    """
    if job.text is not None and (job.sound is not None or job.segments):
        raise InputError("give one of a sound, a text and segments: not several")
    texts = _texts(job)
    files = {text: _speech_file(job, text) for text in texts}
    for other in job.output.parent.glob(f".{glob.escape(job.output.name)}.*.wav") if texts else ():
        if other not in files.values():  # of an unfinished film with other texts
            other.unlink(missing_ok=True)
    try:
        for text, file in files.items():
            if not file.is_file():
                _speak(job, text, file)
        yield _with_files(job, files)
    except LipstreamError:
        _remove(files.values())
        raise
    _remove(files.values())


def _texts(job: RenderJob) -> list[SpokenText]:
    """Return all that is to be spoken, in order, each once."""
    whole = [] if job.text is None else [SpokenText(job.text)]
    parts = [one.sound for one in job.segments if isinstance(one.sound, SpokenText)]
    return list(dict.fromkeys(whole + parts))


def _with_files(job: RenderJob, files: dict[SpokenText, Path]) -> RenderJob:
    def with_file(one: Segment) -> Segment:
        text = one.sound
        if not isinstance(text, SpokenText):
            return one
        return replace(one, sound=files[text], name=_short_name(text))

    segments = tuple(with_file(one) for one in job.segments)
    if job.text is None:
        return replace(job, segments=segments)
    return replace(job, sound=files[SpokenText(job.text)], text=None)


def _speak(job: RenderJob, text: SpokenText, file: Path) -> None:
    """Raises LipstreamError, which names the text where there may be several."""
    try:
        with closing(open_voice(_settings(job, text))) as voice:
            write_speech(voice, text.text, file)
    except LipstreamError as error:
        if job.text is not None:
            raise
        raise type(error)(f"segment {_short_name(text)}: {error}") from error


def _settings(job: RenderJob, text: SpokenText) -> SpeechSettings:
    voice = text.voice or job.speech.voice
    speed = job.speech.speed if text.speed is None else text.speed
    return replace(job.speech, voice=voice, speed=speed)


def _short_name(text: SpokenText) -> str:
    line = " ".join(text.text.split())
    return f"'{line}'" if len(line) <= _NAME else f"'{line[: _NAME - 1].rstrip()}\u2026'"


def _speech_file(job: RenderJob, text: SpokenText) -> Path:
    identity = repr((text.text, _settings(job, text)))
    key = hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:16]
    return job.output.with_name(f".{job.output.name}.{key}.wav")


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
