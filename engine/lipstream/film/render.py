"""A face and a sound to a film: the live engine, fed from files as fast as it goes."""

import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lipstream.errors import MediaError
from lipstream.film.captions import draw_caption, film_captions, write_captions
from lipstream.film.checkpoint import (
    DRAFT_PART_FRAMES,
    PART_FRAMES,
    Checkpoint,
    open_checkpoint,
)
from lipstream.film.concurrency import one_blas_thread, open_part
from lipstream.film.frame_renderers import (
    FrameRenderer,
    open_renderer,
    range_requests,
    render_timeline,
)
from lipstream.film.job import RenderJob
from lipstream.film.plan import RenderPlan, make_plan, open_plan
from lipstream.film.provenance import draw_label, sign
from lipstream.film.speaker_selection import UndrivenFrames
from lipstream.film.video_source import EndlessVideo, VideoSource
from lipstream.inference.model import MouthModel
from lipstream.lips.shape import NAMES, REST, UNIT_NAMES, LipFrame, arkit_units
from lipstream.live.compositor import make_compositor
from lipstream.live.frame_source import NO_FEATURES, SourceFrame
from lipstream.live.pipeline import Pipeline, paint
from lipstream.media import FilmReader, join_parts, write_growing
from lipstream.storage import atomic_write
from lipstream.types import Image

__all__ = ["RenderJob", "RenderResult", "render", "render_film", "render_frames"]

PAIRS = 8
"""Pairs of pictures on a sheet."""
_WIDTH, _GAP = 320, 8
_ACROSS = 2
"""Pairs in a row."""


@dataclass(frozen=True, slots=True)
class RenderResult:
    """What was rendered."""

    frames: int
    fps: Fraction
    seconds: float
    """Length of the sound."""
    undriven: UndrivenFrames
    """Spoken frames in which no face was driven, which passed through untouched."""
    resumed: int = 0
    """Frames that an earlier run had made."""
    notes: tuple[str, ...] = ()
    """What of the face's film is not in the output, a sentence each."""

    @property
    def faceless(self) -> int:
        """All spoken frames in which no face was driven."""
        return self.undriven.all


def render(
    job: RenderJob, on_progress: Callable[[int, int], None] = lambda *_: None
) -> RenderResult:
    """Render a film.

    ``on_progress`` is told the steps done and the steps in all: one for each frame in which faces
    are looked for, and one for each frame rendered. After Ctrl-C or a crash the same call goes on
    where it was. Raises LipstreamError; then nothing is left half-written, and an older file of
    that name is not touched.
    """
    with one_blas_thread(), open_plan(job) as plan, open_checkpoint(plan) as checkpoint:
        timeline = plan.timeline
        steps = _Steps(sum(map(len, plan.frames_to_search)) + timeline.frames, on_progress)
        renderer = open_renderer(plan, checkpoint, steps.step)
        resumed = min(timeline.frames, checkpoint.parts_done() * _part_frames(job))
        parts = _write_parts(plan, renderer, checkpoint, steps)
        if job.growing is None:
            deque(parts, 0)
        else:
            write_growing(parts, timeline.fps, plan.sound_track(), job.growing)
        _finish(plan, renderer, checkpoint)
        notes = (*plan.notes(), *renderer.notes)
    seconds = timeline.samples / timeline.rate
    return RenderResult(
        timeline.frames, timeline.fps, seconds, renderer.undriven, resumed, notes=notes
    )


def render_film(
    face: Path | str,
    sound: Path | str,
    output: Path | str,
    on_progress: Callable[[int, int], None] = lambda *_: None,
    **options: Any,
) -> RenderResult:
    """Render a face and a sound to a film; ``options`` are further fields of ``RenderJob``.

    ``on_progress`` and errors are those of ``render``.
    """
    return render(RenderJob(Path(face), Path(sound), Path(output), **options), on_progress)


def render_frames(job: RenderJob, model: MouthModel, folder: Path) -> Iterator[Image]:
    """Yield every frame of a job as it is before it is encoded; ``folder`` is for work files."""
    plan = make_plan(job, model)
    with Checkpoint(folder / job.output.name, "frames", plan.shape.part_suffix) as checkpoint:
        renderer = open_renderer(plan, checkpoint, lambda: None)
        yield from _frames(plan, renderer, 0)


class _Steps:
    """Counts steps and tells them."""

    def __init__(self, total: int, tell: Callable[[int, int], None]) -> None:
        self._done, self._total, self._tell = 0, total, tell

    def step(self, count: int = 1) -> None:
        self._done += count
        self._tell(self._done, self._total)


def _part_frames(job: RenderJob) -> int:
    return DRAFT_PART_FRAMES if job.draft else PART_FRAMES


def _write_parts(
    plan: RenderPlan, renderer: FrameRenderer, checkpoint: Checkpoint, steps: _Steps
) -> Iterator[Path]:
    """Yield the parts in order, those that are not there yet when they are rendered."""
    frames, size, done = plan.timeline.frames, _part_frames(plan.job), checkpoint.parts_done()
    first = min(frames, done * size)
    if first:
        steps.step(first)
    yield from map(checkpoint.part, range(-(-first // size)))
    images = _frames(plan, renderer, first)
    for at in range(first, frames, size):
        path = checkpoint.part(at // size)
        with open_part(path, plan.shape) as part:
            for image in itertools.islice(images, size):
                part.write(image)
                steps.step()
        yield path


def _frames(plan: RenderPlan, renderer: FrameRenderer, first: int) -> Iterator[Image]:
    text = plan.job.label
    images = render_timeline(plan, renderer, first)
    if plan.job.burn_captions:
        images = _captioned(plan, images, first)
    if text is None:
        return images
    spoken = [
        frame_range.spoken_range is not None
        for frame_range in plan.timeline.ranges()
        for _ in range(frame_range.start, frame_range.stop)
    ]
    return (
        draw_label(image, text) if spoken[frame] else image
        for frame, image in enumerate(images, first)
    )


def _captioned(plan: RenderPlan, images: Iterator[Image], first: int) -> Iterator[Image]:
    """Draw into pictures, of which the first one is ``first``, what is said while they show."""
    timeline = plan.timeline
    captions = deque(film_captions(timeline))
    for frame, image in enumerate(images, first):
        middle = (timeline.start_of(frame) + timeline.start_of(frame + 1)) // 2
        while captions and captions[0].stop <= middle:
            captions.popleft()
        is_shown = bool(captions) and captions[0].start <= middle
        yield draw_caption(image, captions[0].text) if is_shown else image


def _finish(plan: RenderPlan, renderer: FrameRenderer, checkpoint: Checkpoint) -> None:
    job, timeline = plan.job, plan.timeline
    parts = [checkpoint.part(k) for k in range(-(-timeline.frames // _part_frames(job)))]
    film = job.output
    if job.certificate is not None:
        film = checkpoint.joined.with_suffix(job.output.suffix)
    join_parts(parts, timeline.fps, plan.sound_track(), film, plan.extras)
    if job.sheet is not None:
        write_sheet(job.sheet, film, timeline.frames, _before(plan, renderer))
    if job.units is not None:
        write_units(job.units, plan)
    if job.captions is not None:
        write_captions(job.captions, film_captions(timeline), timeline.rate)
    if job.certificate is not None:
        sign(film, job.certificate, job.output)


def _before(plan: RenderPlan, renderer: FrameRenderer) -> Callable[[int], Image]:
    """Return what gives the pictures of the face as it was, in any order."""
    if isinstance(plan.face, VideoSource):
        return EndlessVideo(plan.face, plan.job.ends).picture_at
    return renderer.unspoken_frame


@dataclass(frozen=True, slots=True)
class _NoPictures:
    """Pictures of nothing, for the lips alone."""

    rests: bool = True

    def picture(self, index: int, fps: Fraction) -> SourceFrame:  # noqa: ARG002
        return SourceFrame(np.zeros((2, 2, 3), np.uint8), None, NO_FEATURES)


def spoken_lips(plan: RenderPlan) -> list[LipFrame]:
    """Return how the lips stand in each frame of a film, at rest where nobody speaks."""
    timeline, model = plan.timeline, plan.model
    lips = [REST] * timeline.frames
    timing = model.timing(timeline.rate, timeline.fps)
    for spoken_range in timeline.spoken_ranges:
        pipeline = Pipeline(_NoPictures(), timing, make_compositor(model))
        requests = range_requests(pipeline, spoken_range, timeline.rate)
        frames = range(spoken_range.start, spoken_range.stop)
        for frame, request in zip(frames, requests, strict=False):  # silence may follow
            spoken = pipeline.lips(paint(model, request))
            pipeline.skip(request)
            if spoken is not None:
                lips[frame] = spoken.scaled(request.openness)
    return lips


def write_units(path: Path, plan: RenderPlan) -> None:
    """Write the lips of each frame: ARKit's units from 0 to 1, then the measures in spreads.

    CSV has a row a frame; JSON has ``fps``, ``units``, ``measures`` (names), ``frames`` (rows).
    Raises MediaError.
    """
    fps = plan.timeline.fps
    rows = [
        [round(float(value), 4) for value in (*arkit_units(lips), *lips.measures)]
        for lips in spoken_lips(plan)
    ]
    if path.suffix.lower() == ".json":
        names = {"units": UNIT_NAMES, "measures": NAMES}
        text = json.dumps({"fps": float(fps), **names, "frames": rows})
    else:
        lines = [["frame", "seconds", *UNIT_NAMES, *NAMES]]
        lines += [[str(k), f"{float(k / fps):.4f}", *map(str, row)] for k, row in enumerate(rows)]
        text = "".join(",".join(line) + "\n" for line in lines)
    try:
        with atomic_write(path) as unfinished:
            unfinished.write_text(text, "utf-8")
    except OSError as error:
        raise MediaError(f"cannot write {path}: {error.strerror or error}") from error


def sheet_frames(frames: int) -> list[int]:
    """Return which frames of a film are shown: in the middles of equal parts."""
    pairs = min(PAIRS, frames)
    return [frames * (2 * k + 1) // (2 * pairs) for k in range(pairs)]


def write_sheet(path: Path, film: Path, frames: int, before: Callable[[int], Image]) -> None:
    """Write a contact sheet of a film and the pictures it was made from. Raises MediaError."""
    rendered = FilmReader(film)
    pairs = []
    for frame in sheet_frames(frames):
        after_image = next(rendered.pictures(first=frame), None)
        if after_image is not None:
            pairs.append(np.hstack([_small(before(frame)), _small(after_image)]))
    done, encoded = cv2.imencode(path.suffix.lower(), _arranged(pairs))
    try:
        if not done:
            raise OSError("the picture cannot be encoded")
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(encoded.tobytes())
    except OSError as error:
        raise MediaError(f"cannot write {path}: {error.strerror or error}") from error


def _small(image: Image) -> Image:
    height = max(1, round(_WIDTH * image.shape[0] / image.shape[1]))
    return np.asarray(cv2.resize(image, (_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)


def _arranged(pairs: Sequence[Image]) -> Image:
    high = max(pair.shape[0] for pair in pairs) + _GAP
    wide = 2 * _WIDTH + _GAP
    rows = -(-len(pairs) // _ACROSS)
    sheet = np.full((rows * high, min(_ACROSS, len(pairs)) * wide, 3), 255, np.uint8)
    for index, pair in enumerate(pairs):
        top, left = (index // _ACROSS) * high, (index % _ACROSS) * wide
        sheet[top : top + pair.shape[0], left : left + pair.shape[1]] = pair
    return sheet
