"""The library in one class: feed sound, get frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

from lipstream.audio.resampler import check_rate
from lipstream.avatar.pack import Avatar
from lipstream.errors import InputError
from lipstream.inference.model import MouthModel
from lipstream.live.compositor import make_compositor
from lipstream.live.frame_source import FrameSource, PreparedAvatar
from lipstream.live.pipeline import Pipeline, drain, pieces
from lipstream.timing import MODEL_RATE, Timing
from lipstream.types import AvFrame, Pcm

SLOWEST_FPS, FASTEST_FPS = 1, 120


@dataclass(frozen=True, slots=True)
class Options:
    """What to open."""

    model: Path | None = None
    """Model folder; None for the embedded one."""
    avatar: Path | None = None
    """Avatar pack; None for the embedded one."""
    rate: int = MODEL_RATE
    """Samples a second of the sound that will be fed, 8000 to 192000."""
    fps: Fraction | int = 25
    """Frames a second to make, 1 to 120."""
    backend: str = "auto"
    """Name of the backend (``lipstream.inference.backends``)."""
    threads: int = 0
    """CPU threads of the backend, 0 for its own choice."""
    precision: str = "fp32"
    """fp32, fp16, bf16 or int8: a lower one is faster and changes the picture a little."""


def make_timing(model: MouthModel, rate: int, fps: Fraction | int) -> Timing:
    """Return the schedule of a session; raises InputError for a rate that cannot be used."""
    if not SLOWEST_FPS <= fps <= FASTEST_FPS:
        raise InputError(f"{fps} frames a second: give {SLOWEST_FPS} to {FASTEST_FPS}")
    manifest = model.manifest
    return Timing(check_rate(rate), Fraction(fps), manifest.mel_columns, manifest.window_start_ms)


class LipSync:
    """A model, an avatar and one session, on the caller's thread.

    with LipSync.open() as lips:
        for frame in lips.feed(pcm): ...
        for frame in lips.flush(): ...
    """

    def __init__(self, model: MouthModel, source: FrameSource, timing: Timing) -> None:
        self._model = model
        self._pipeline = Pipeline(source, timing, make_compositor(model))

    @classmethod
    def open(cls, options: Options | None = None) -> Self:
        """Open a model and an avatar, by default the embedded ones, and prepare the face."""
        options = options or Options()
        check_rate(options.rate)
        avatar = Avatar.open(options.avatar)
        model = MouthModel.open(
            options.model,
            backend=options.backend,
            threads=options.threads,
            precision=options.precision,
        )
        try:
            timing = make_timing(model, options.rate, options.fps)
            return cls(model, PreparedAvatar.prepare(avatar, model), timing)
        except BaseException:
            model.close()
            raise

    @property
    def timing(self) -> Timing:
        """The session's schedule."""
        return self._pipeline.timing

    def feed(self, pcm: Pcm) -> list[AvFrame]:
        """Take (n,) int16 mono, any n, and return the frames that are complete now."""
        return list(self.stream(pcm))

    def stream(self, pcm: Pcm) -> Iterator[AvFrame]:
        """Like ``feed``, one frame at a time: for long sounds, whose frames would fill memory."""
        for piece in pieces(pcm, self.timing.rate):
            self._pipeline.feed(piece)
            yield from drain(self._pipeline, self._model)

    def flush(self) -> list[AvFrame]:
        """End the sound and return the frames left; together they cover every sample fed."""
        self._pipeline.flush()
        return list(drain(self._pipeline, self._model))

    def reset(self) -> None:
        """Begin anew at sample 0."""
        self._pipeline.reset()

    def close(self) -> None:
        """Free the model."""
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
