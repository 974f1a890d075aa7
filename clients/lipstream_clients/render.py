"""A face and a sound to a film: the live engine, fed from files as fast as it goes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lipstream.errors import MediaError
from lipstream.lips import LipSync, make_timing
from lipstream.model import MouthModel
from lipstream.types import AvFrame
from lipstream_clients.faces_of import Ends, FilmScene, Stage, open_stage
from lipstream_clients.media import (
    FilmFormat,
    FilmWriter,
    SoundFile,
    check_film_name,
    playable_rate,
)

_BLOCKS_A_SECOND = 10


@dataclass(frozen=True, slots=True)
class RenderJob:
    """What to render."""

    face: Path
    """Avatar pack, picture or film."""
    sound: Path
    output: Path
    model: Path | None = None
    """Model folder; None for the embedded one."""
    backend: str = "auto"
    fps: Fraction | None = None
    """Frames a second; None for the film's or avatar's own, 25 for a picture."""
    ends: Ends = "repeat"
    """What follows a film that is shorter than the sound."""
    s3fd: Path | None = None
    """``s3fd.onnx`` to find faces with; None for the embedded face finder."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What was rendered."""

    frames: int
    fps: Fraction
    seconds: float
    """Length of the sound."""
    faceless: int
    """Frames in which no face was found, which passed through untouched."""


def render(job: RenderJob, on_progress: Callable[[int, int], None] = lambda *_: None) -> Rendered:
    """Render a film; ``on_progress`` is told the frames done and the frames in all.

    The film covers the sound to its last sample: a longer film is cut.
    Raises LipstreamError; the output file is then not touched.
    """
    _check_output(job)
    sound = SoundFile.open(job.sound)
    rate = playable_rate(sound.rate)
    with ExitStack() as stack:
        model = stack.enter_context(MouthModel.open(job.model, backend=job.backend))
        stage = open_stage(job.face, model, job.ends, job.s3fd)
        if isinstance(stage.scene, FilmScene):
            stack.callback(stage.scene.close)
        fps = job.fps or stage.fps
        frames_in_all = make_timing(model, rate, fps).frame_count(_samples_at(sound, rate))
        shape = FilmFormat(stage.width, stage.height, fps, rate, stage.pixel_aspect)
        done = 0
        with FilmWriter(job.output, shape) as writer:
            for frame in render_frames(stage, model, sound, fps):
                writer.write(frame.image, frame.pcm)
                done += 1
                on_progress(done, frames_in_all)
    faceless = stage.scene.faceless if isinstance(stage.scene, FilmScene) else 0
    return Rendered(done, fps, float(sound.seconds), faceless)


def render_frames(
    stage: Stage, model: MouthModel, sound: SoundFile, fps: Fraction
) -> Iterator[AvFrame]:
    """Yield every frame that the live engine makes of a whole sound, one at a time."""
    rate = playable_rate(sound.rate)
    lips = LipSync(model, stage.scene, make_timing(model, rate, fps))
    for block in sound.blocks(rate, rate // _BLOCKS_A_SECOND):
        yield from lips.stream(block)
    yield from lips.flush()


def _samples_at(sound: SoundFile, rate: int) -> int:
    return -(-sound.samples * rate // sound.rate)


def _check_output(job: RenderJob) -> None:
    check_film_name(job.output)
    for source in (job.face, job.sound):
        if source.exists() and job.output.exists() and source.samefile(job.output):
            raise MediaError(f"{job.output} is also an input: choose another name with -o")
