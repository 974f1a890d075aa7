"""The library in one class: feed sound, get frames."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from numpy.typing import ArrayLike

from lipstream.avatar.making import open_avatar
from lipstream.errors import InputError
from lipstream.inference.model import MouthModel
from lipstream.lips.phones import Phone
from lipstream.live.compositor import make_compositor
from lipstream.live.frame_source import FrameSource, PreparedAvatar
from lipstream.live.pipeline import Pipeline, drain, pieces
from lipstream.timing import MODEL_RATE, Timing, check_rate
from lipstream.types import AvFrame


@dataclass(frozen=True, slots=True)
class Options:
    """What to open."""

    model: Path | str | None = None
    """Model folder, or an embedded model's name; None for the embedded one."""
    avatar: Path | str | None = None
    """Avatar pack, picture or short film, or an embedded avatar's name; None for the embedded."""
    rate: int = MODEL_RATE
    """Samples a second of the sound that will be fed, 8000 to 192000."""
    fps: Fraction | float | str = 25
    """Frames a second to make, 1 to 240: 25, 29.97 or "30000/1001"."""
    backend: str = "auto"
    """Name of the backend (``lipstream.inference.backends``)."""
    threads: int = 0
    """CPU threads of the backend, 0 for its own choice."""
    precision: str = "fp32"
    """fp32, fp16, bf16 or int8: a lower one is faster and changes the picture a little."""


class LipSync:
    """A model, an avatar and one session, on the caller's thread: one thread at a time.

    with LipSync.open(avatar="me.jpg") as lips:
        for frame in lips.feed(pcm): ...
        for frame in lips.flush(): ...
    """

    def __init__(self, model: MouthModel, source: FrameSource, timing: Timing) -> None:
        self._model = model
        self._pipeline = Pipeline(source, timing, make_compositor(model))
        self._closed = False

    @classmethod
    def open(cls, options: Options | None = None, **changes: Any) -> Self:
        """Open a model and an avatar, by default the embedded ones, and prepare the face.

        ``changes`` are fields of ``Options`` by name. Raises LipstreamError.
        """
        options = replace(options or Options(), **changes)
        check_rate(options.rate)
        avatar = open_avatar(None if options.avatar is None else Path(options.avatar))
        model = MouthModel.open(
            None if options.model is None else Path(options.model),
            backend=options.backend,
            threads=options.threads,
            precision=options.precision,
        )
        try:
            timing = model.timing(options.rate, options.fps)
            return cls(model, PreparedAvatar.prepare(avatar, model), timing)
        except BaseException:
            model.close()
            raise

    @property
    def timing(self) -> Timing:
        """The session's schedule."""
        return self._pipeline.timing

    def feed(self, pcm: ArrayLike) -> list[AvFrame]:
        """Take mono sound of any length, and return the frames that are complete now.

        int16 (n,) goes in as it is; bytes of it, lists, and floats from -1 to 1 are converted.
        """
        return list(self.stream(pcm))

    def stream(self, pcm: ArrayLike) -> Iterator[AvFrame]:
        """Like ``feed``, one frame at a time: for long sounds, whose frames would fill memory."""
        self._check_open()
        for piece in pieces(pcm, self.timing.rate):
            self._pipeline.feed(piece)
            yield from drain(self._pipeline, self._model)

    def know(self, phones: Iterable[Phone]) -> None:
        """Take phones known beforehand, in samples since the start, before the sound they are in.

        Lips close on p, b and m, and meet the teeth on f and v, by them; see ``Pipeline.know``.
        """
        self._check_open()
        self._pipeline.know(phones)

    def flush(self) -> list[AvFrame]:
        """End the sound and return the frames left; together they cover every sample fed."""
        self._check_open()
        self._pipeline.flush()
        return list(drain(self._pipeline, self._model))

    def reset(self) -> None:
        """Begin anew at sample 0."""
        self._check_open()
        self._pipeline.reset()

    def close(self) -> None:
        """Free the model. Closing twice is fine."""
        self._closed = True
        self._model.close()

    def _check_open(self) -> None:
        if self._closed:
            raise InputError("this LipSync is closed: open another with LipSync.open()")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
