"""All conversions of time. Time is an integer: samples since the session began.

The published network's sound: 16 kHz, one mel column every 200 samples (80 a second), a column's
window of 800 samples centred on it, and one sample more for pre-emphasis. Columns are what
``librosa.stft(center=True)`` gives: column c is centred on sample 200 c.
"""

from dataclasses import dataclass
from fractions import Fraction

from lipstream.errors import InputError

MODEL_RATE = 16_000
"""Samples a second of the sound that the mel is computed from."""
HOP = 200
"""Samples from one mel column to the next."""
WINDOW = 800
"""Samples under one column's window."""
LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000
"""Sound rates taken, in Hz."""
SLOWEST_FPS, FASTEST_FPS = 1, 240
"""Frames a second that a session may make."""


def check_rate(rate: int) -> int:
    """Return ``rate`` if sound at that rate can be taken, else raise InputError."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise InputError(
            f"sound at {rate} Hz cannot be used:"
            f" give a rate from {LOWEST_RATE} to {HIGHEST_RATE} Hz"
        )
    return rate


def exact_fps(fps: Fraction | float | str) -> Fraction:
    """Return a frame rate as an exact fraction: 29.97002997 is 30000/1001, "25" is 25.

    Raises InputError for what is no number above 0.
    """
    try:
        exact = Fraction(fps)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        raise InputError(f"{fps!r} is no frame rate: give 25, 29.97 or 30000/1001") from None
    if exact <= 0:
        raise InputError(f"{fps} frames a second: give more than 0")
    return exact.limit_denominator(1001) if isinstance(fps, float) else exact


@dataclass(frozen=True, slots=True)
class Span:
    """Samples [start, stop), counted since the session began; negative ones are silence."""

    start: int
    stop: int

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Timing:
    """The schedule of one session: which samples belong to which frame."""

    rate: int
    """Samples a second of the session's sound."""
    fps: Fraction
    """Frames a second, exact (25, 30000/1001, ...)."""
    mel_columns: int = 16
    """Columns of one mel window."""
    window_start_ms: int = -40
    """Start of a frame's mel window against the frame's own time: -40 as Wav2Lip was trained, 0 as
    its inference script does."""

    def frame_start(self, index: int) -> int:
        """Return the session sample at which frame ``index`` starts to show."""
        return index * self.rate * self.fps.denominator // self.fps.numerator

    def frame_span(self, index: int) -> Span:
        """Return the session samples heard while frame ``index`` shows."""
        return Span(self.frame_start(index), self.frame_start(index + 1))

    def frame_count(self, samples: int) -> int:
        """Return how many frames cover ``samples`` session samples, to the last one."""
        count = -(-samples * self.fps // self.rate)
        while self.frame_start(int(count)) < samples:
            count += 1
        return int(count)

    def first_column(self, index: int) -> int:
        """Return the first mel column of frame ``index``.

        ``floor(80 (k / fps + window_start))``: at 25 fps and -40 ms it is ``int(80 (k - 1) / 25)``,
        Wav2Lip's ``get_frame_id`` and ``crop_audio_window`` in ``wav2lip_train.py``.
        """
        # In integers, as is frame_start: a dozen steps of Fraction cost 0.1 ms a frame.
        frames, seconds = self.fps.numerator, self.fps.denominator
        thousandths = index * seconds * 1000 + self.window_start_ms * frames
        return thousandths * MODEL_RATE // (1000 * frames * HOP)

    def mel_span(self, index: int) -> Span:
        """Return the 16 kHz samples that the mel window of frame ``index`` is a function of."""
        start = self.first_column(index) * HOP - WINDOW // 2
        return Span(start - 1, start + (self.mel_columns - 1) * HOP + WINDOW)

    @property
    def look_ahead_ms(self) -> float:
        """How far past the start of a frame its mel window reaches, at most, in milliseconds."""
        past = (self.mel_columns - 1) * HOP + WINDOW // 2
        return self.window_start_ms + past * 1000 / MODEL_RATE

    def milliseconds(self, samples: int) -> float:
        """Convert session samples to milliseconds."""
        return samples * 1000 / self.rate
