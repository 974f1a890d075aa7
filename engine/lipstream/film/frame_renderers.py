"""What gives the pictures of a film, one a frame: a video with its speakers, or an avatar."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice
from queue import SimpleQueue
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.face.crop import FacePicture, cut_crop
from lipstream.film.avatar_source import LoopedSource
from lipstream.film.checkpoint import Checkpoint, find_faces
from lipstream.film.concurrency import parallel_map, pictures_in_budget, return_large_arrays
from lipstream.film.job import FaceChoice
from lipstream.film.plan import RenderPlan
from lipstream.film.restoration import Restorer
from lipstream.film.speaker_selection import (
    FilmSpeakers,
    SelectionOptions,
    SpeakerTrack,
    UndrivenFrames,
    undriven_frames,
)
from lipstream.film.timeline import PHONE_RATE, EditTimeline, SpokenRange
from lipstream.film.video_source import VideoSource
from lipstream.inference.backends import BankRow, HostFeatures
from lipstream.inference.manifest import ModelManifest
from lipstream.inference.model import MouthModel
from lipstream.live.compositor import Compositor, MouthArea, Target, make_compositor, open_shapes
from lipstream.live.frame_source import NO_FEATURES, SourceFrame
from lipstream.live.pipeline import MouthRequest, Pipeline, paint, pieces
from lipstream.media import SoundReader
from lipstream.mouth.compositor import ShapeTarget
from lipstream.mouth.prepare import LipMover
from lipstream.types import AvFrame, Float32, Image

_RADIUS = 1.0
"""Of the blur that sharpening takes the picture apart with, pixels of the crop."""
_MOST = 0.8
"""Most that edges are raised: more, and the blocks of a compressed film would show."""
_LEAST_EDGES = 0.25
"""Mean edge in levels below which there is nothing to compare: plain grey."""
_BLOCKS_A_SECOND = 10
_EDGE_FRAMES = 4
"""Frames in which a mouth fades over from the film's own, and back, at the ends of its speech."""
_NOTHING = SourceFrame(np.zeros((0, 0, 3), np.uint8), None, None)

FrameTask = Callable[[], Image | None]
"""Makes one picture; called once, in another thread than the renderer's. None: as the last."""


class FrameRenderer(Protocol):
    """Gives the pictures of a film, in rising order. Used by one thread."""

    at_once: int
    """How many pictures may be finished at once."""
    notes: tuple[str, ...]
    """What people should know of the pictures, a sentence each."""
    rests: bool
    """Whether the pictures' own mouths are at rest, so that silence may show them."""

    @property
    def undriven(self) -> UndrivenFrames:
        """The spoken frames in which no face is driven, once all are made."""
        ...

    def unspoken_frame(self, frame: int) -> Image:
        """Return a frame that nobody speaks in, untouched."""
        ...

    def source_frame(self, frame: int, spoken_range: SpokenRange) -> SourceFrame:
        """Return what a mouth is to be put into."""
        ...

    def finish(
        self, pipeline: Pipeline, request: MouthRequest, spoken_range: SpokenRange
    ) -> FrameTask:
        """Bring the pipeline past a request; return what puts the mouth into its picture."""
        ...


def open_renderer(
    plan: RenderPlan, checkpoint: Checkpoint, on_frame: Callable[[], None]
) -> FrameRenderer:
    """Find the faces of a plan, and return what gives its pictures.

    ``on_frame`` is called for each frame of ``plan.frames_to_search``.
    """
    job, face, model = plan.job, plan.face, plan.model
    return_large_arrays(face.width, face.height)
    restorer = None
    if job.restore is not None:
        restorer = Restorer.open(job.restore, model.manifest, job.backend)
    if not isinstance(face, VideoSource):
        return AvatarRenderer(face.prepare(model), model, restorer)
    found = find_faces(plan, face, checkpoint, on_frame)
    options = SelectionOptions(job.smooth, job.pads, faded=job.box is None)
    choices = {spoken_range.who for spoken_range in plan.timeline.spoken_ranges}
    speakers = FilmSpeakers(face, job.ends, choices, options, found)
    return FilmRenderer(speakers, model, plan.timeline, restorer, draft=job.draft)


def render_timeline(plan: RenderPlan, renderer: FrameRenderer, first: int = 0) -> Iterator[Image]:
    """Yield the frames of a whole film from ``first`` on."""
    for frame_range in plan.timeline.ranges():
        if frame_range.stop <= first:
            continue
        if frame_range.spoken_range is None:
            for frame in range(max(first, frame_range.start), frame_range.stop):
                yield renderer.unspoken_frame(frame)
        else:
            yield from _render_spoken(plan, renderer, frame_range.spoken_range, first)


def _render_spoken(
    plan: RenderPlan, renderer: FrameRenderer, spoken_range: SpokenRange, first: int
) -> Iterator[Image]:
    """Yield the frames of one range; what comes before ``first`` is heard, but not painted."""
    tasks = _frame_tasks(plan, renderer, spoken_range, max(0, first - spoken_range.start))
    # one at a time: pictures so large that memory decides
    waiting = 1 if renderer.at_once == 1 else 1 + renderer.at_once
    last: Image | None = None
    with closing(parallel_map(tasks, waiting, "paint", renderer.at_once)) as images:
        for image in images:
            last = image if image is not None else last
            assert last is not None, "the first picture of a range is always made"
            yield last


def _frame_tasks(
    plan: RenderPlan, renderer: FrameRenderer, spoken_range: SpokenRange, skipped: int
) -> Iterator[FrameTask]:
    source = _RangeSource(renderer, spoken_range, skipped)
    timing = plan.model.timing(plan.timeline.rate, plan.timeline.fps)
    pipeline = Pipeline(source, timing, make_compositor(plan.model))
    requests = range_requests(pipeline, spoken_range, plan.timeline.rate)
    for request in islice(requests, spoken_range.stop - spoken_range.start):
        if request.index < skipped:
            pipeline.skip(request)
            continue
        task = renderer.finish(pipeline, request, spoken_range)
        again = plan.job.draft and (request.index - skipped) % 2 and request.picture.face
        yield (lambda: None) if again else task


def range_requests(
    pipeline: Pipeline, spoken_range: SpokenRange, rate: int
) -> Iterator[MouthRequest]:
    """Yield the requests of all frames that cover a range's sound; each is to be completed."""
    reader = SoundReader(spoken_range.clip.sound, rate, 1, heard=True)
    skipped = int(spoken_range.clip.start_s * rate)
    reader.skip(skipped).wait(spoken_range.wait)
    phones = (phone.resampled(PHONE_RATE, rate) for phone in spoken_range.clip.phones)
    pipeline.know(phone.later(spoken_range.wait - skipped) for phone in phones)
    for block in reader.blocks(spoken_range.wait + spoken_range.samples, rate // _BLOCKS_A_SECOND):
        for piece in pieces(block[:, 0], rate):
            pipeline.feed(piece)
            while (request := pipeline.next_request()) is not None:
                yield request
    pipeline.flush()
    while (request := pipeline.next_request()) is not None:
        yield request


@dataclass(frozen=True, slots=True)
class _RangeSource:
    """A renderer as the pipeline of one range sees it."""

    renderer: FrameRenderer
    spoken_range: SpokenRange
    skipped: int
    """Frames at the start whose pictures nobody needs."""

    @property
    def rests(self) -> bool:
        return self.renderer.rests

    def picture(self, index: int, fps: Fraction) -> SourceFrame:  # noqa: ARG002
        if index < self.skipped:
            return _NOTHING
        return self.renderer.source_frame(self.spoken_range.start + index, self.spoken_range)


class AvatarRenderer:
    """An avatar, or a picture that lives: its own mouth rests, and silence shows it."""

    at_once, undriven, rests = 1, UndrivenFrames(), True

    def __init__(
        self, source: LoopedSource, model: MouthModel, restorer: Restorer | None = None
    ) -> None:
        self._source, self._model = source, model
        self._restorer, self.notes = restorer, source.notes

    def unspoken_frame(self, frame: int) -> Image:
        """Return the avatar in silence, new."""
        return self._source.view.of(self._source.picture(frame).image.copy())

    def source_frame(self, frame: int, spoken_range: SpokenRange) -> SourceFrame:  # noqa: ARG002
        """Return the avatar's picture."""
        return self._source.picture(frame)

    def finish(
        self,
        pipeline: Pipeline,
        request: MouthRequest,
        spoken_range: SpokenRange,  # noqa: ARG002
    ) -> FrameTask:
        """Paint as the live engine does; what is left is to restore."""
        frame = pipeline.complete(request, paint(self._model, request))
        return partial(self._restore, frame, request.picture.target)

    def _restore(self, frame: AvFrame, target: Target | ShapeTarget | None) -> Image:
        image = frame.image
        if self._restorer is not None and target is not None and frame.openness > 0:
            image = self._restorer.restore(image, target, frame.openness)
        return self._source.view.of(image)


class FilmRenderer:
    """A film in which people's own mouths move: they are driven where they are seen.

    A frame without a face is the film's own, to the pixel.
    """

    notes: tuple[str, ...] = ()
    rests = False

    def __init__(
        self,
        film: FilmSpeakers,
        model: MouthModel,
        timeline: EditTimeline,
        restorer: Restorer | None = None,
        *,
        draft: bool = False,
    ) -> None:
        self._film, self._model, self._timeline = film, model, timeline
        self._draft = draft
        pixels = model.manifest.paints == "pixels"
        self._paste = MouthPaster(model.manifest) if pixels else None
        self._restorer = restorer
        self._teeth: dict[FaceChoice, ShapeTarget | None] = {}
        size, threads = (film.video.width, film.video.height), model.frame_threads
        self.at_once = 1 if restorer else pictures_in_budget(*size, threads)
        self._movers: SimpleQueue[LipMover] = SimpleQueue()  # one for each thread that paints
        for mover in [] if pixels else LipMover.open(open_shapes(), self.at_once):
            self._movers.put(mover)
        self._idle: SimpleQueue[MouthModel] = SimpleQueue()
        for worker in [model, *(model.clone() for _ in range(self.at_once - 1))]:
            self._idle.put(worker)

    @property
    def undriven(self) -> UndrivenFrames:
        """The spoken frames without a mouth; the whole film is looked through for them."""
        return undriven_frames(
            self._speaker(frame, spoken_range)
            for spoken_range in self._timeline.spoken_ranges
            for frame in range(spoken_range.start, spoken_range.stop)
        )

    def unspoken_frame(self, frame: int) -> Image:
        """Return the film's picture, new."""
        return self._film.picture(frame)

    def source_frame(self, frame: int, spoken_range: SpokenRange) -> SourceFrame:
        """Return the film's picture, and its mouth where one is to be driven."""
        strength = self._strength(frame, spoken_range)  # first: that finds the faces
        image = self._film.picture(frame)
        if strength <= 0.0:
            return SourceFrame(image, None, None)
        if self._paste is None:  # what the picture's lips are is found as they are moved
            return SourceFrame(image, None, NO_FEATURES)
        speaker, at = self._speaker(frame, spoken_range)
        crop = speaker.crops[at]
        face = cut_crop(image, crop, self._model.manifest.face_size)
        features = HostFeatures(self._model.face_features(face[None]), 1)
        pasted = self._paste.target(image, crop, face)
        return SourceFrame(image, pasted, BankRow(features, 0))

    def finish(
        self, pipeline: Pipeline, request: MouthRequest, spoken_range: SpokenRange
    ) -> FrameTask:
        """Paste the mouth as far as it may be seen."""
        frame = spoken_range.start + request.index
        strength = self._strength(frame, spoken_range)
        lips = None
        if self._paste is None:  # in order: whether lips close depends on the frame before
            lips = pipeline.lips(paint(self._model, request))
        pipeline.skip(request)
        if lips is None:
            return partial(self._paint_on_free_model, request, strength)
        speaker, at = self._speaker(frame, spoken_range)
        own = None if speaker.lips is None else speaker.lips[at]
        picture = FacePicture(request.picture.image, speaker.crops[at])
        shown = self._teeth_of(spoken_range.who, speaker)

        def move() -> Image:
            mover = self._movers.get()
            try:
                target = mover.target(picture, own, shown)
                image = mover.move(target, lips, strength)
            finally:
                self._movers.put(mover)
            if self._restorer is None:
                return image
            return self._restorer.restore(image, target, strength)

        return move

    def _paint_on_free_model(self, request: MouthRequest, strength: float) -> Image:
        worker = self._idle.get()
        try:  # until the mouth is pasted: its next run paints into the same array
            return self._paint(worker, request, strength)
        finally:
            self._idle.put(worker)

    def _paint(self, worker: MouthModel, request: MouthRequest, strength: float) -> Image:
        picture = request.picture
        mouth: NDArray[np.uint8] | None = paint(worker, request)
        if self._paste is None or not isinstance(picture.target, Target) or mouth is None:
            return picture.image
        image = self._paste.paste(picture.target, mouth, strength)
        if self._restorer is None:
            return image
        return self._restorer.restore(image, picture.target, strength)

    def _teeth_of(self, who: FaceChoice, speaker: SpeakerTrack) -> ShapeTarget | None:
        """Return the frame of the film that shows most of a speaker's teeth; none of a draft."""
        if not self._film.whole or self._draft:
            return None
        if who not in self._teeth:
            video = self._film.video

            def picture_at(at: int) -> Image:
                return next(video.pictures(at))

            seen = (speaker.strength >= 1.0)[:, None]
            lips = None if speaker.lips is None else speaker.lips * seen
            mover = self._movers.get()
            try:
                self._teeth[who] = mover.teeth(lips, speaker.crops, picture_at)
            finally:
                self._movers.put(mover)
        return self._teeth[who]

    def _speaker(self, frame: int, spoken_range: SpokenRange) -> tuple[SpeakerTrack, int]:
        """Return the speaker's path, and where in it a frame of the output is."""
        at = self._film.video.at(frame, self._film.ends)
        return self._film.track(spoken_range.who, at), at

    def _strength(self, frame: int, spoken_range: SpokenRange) -> float:
        """Return how much of the mouth is seen in a frame."""
        speaker, at = self._speaker(frame, spoken_range)
        inside = [float(speaker.strength[at])]
        if spoken_range.start > 0:
            inside.append((frame - spoken_range.start + 1) / _EDGE_FRAMES)
        if spoken_range.stop < self._timeline.frames:
            inside.append((spoken_range.stop - frame) / _EDGE_FRAMES)
        return min(inside)


class MouthPaster:
    """Put mouths into the pictures of films. Any thread, several at once."""

    def __init__(self, manifest: ModelManifest) -> None:
        area = MouthArea(manifest.face_size, manifest.mouth_top, manifest.mouth_bottom)
        self._compositor = Compositor(area)

    def target(self, image: Image, crop: Float32, face: Image) -> Target:
        """Prepare a picture, its (2, 3) unit crop and the (S, S, 3) face cut out by it."""
        return self._compositor.target_of_face(image, crop, face)

    def paste(self, target: Target, mouth: NDArray[np.uint8], strength: float) -> Image:
        """Return a new picture with ``mouth`` (rows, S, 3) in it, as far as ``strength`` says."""
        return self._compositor.paste(target, sharpen(mouth, target.rest), strength)


def sharpen(mouth: NDArray[np.uint8], film: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mouth with edges as strong as the film's in the same rows; never softer."""
    soft, edges = _split_edges(mouth)
    _, wanted = _split_edges(film)
    own, target = (float(np.abs(part).mean()) for part in (edges, wanted))
    if own < _LEAST_EDGES or target <= own:
        return mouth
    raised = soft + edges * np.float32(min(1.0 + _MOST, target / own))
    return np.clip(np.rint(raised), 0, 255).astype(np.uint8)


def _split_edges(mouth: NDArray[np.uint8]) -> tuple[Float32, Float32]:
    """Return the blurred picture and what the blur took away."""
    levels = mouth.astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(levels, (0, 0), _RADIUS), np.float32)
    return soft, levels - soft
