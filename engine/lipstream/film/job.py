"""What ``lipstream render`` is asked to do."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from lipstream.avatar.making import is_avatar
from lipstream.errors import InputError
from lipstream.film.footage import AS_IT_IS, Ends, View
from lipstream.film.provenance import Certificate
from lipstream.film.speaker import LARGEST, Who
from lipstream.film.timeline import WHOLE, Cut, Segment
from lipstream.media import BY_NAME, Encoding, is_picture
from lipstream.speech import SpeechSettings


@dataclass(frozen=True, slots=True)
class RenderJob:
    """What to render. A sound or a text for all of the film, or segments; the rest has defaults."""

    face: Path
    """Avatar pack, picture or film."""
    sound: Path | None
    """What is said; None when ``segments`` or ``text`` say it."""
    output: Path
    model: Path | None = None
    """Model folder, or an embedded model's name; None for ``quality``."""
    backend: str = "auto"
    precision: str = "fp32"
    """One of ``lipstream.inference.backends.PRECISIONS``."""
    fps: Fraction | None = None
    """Frames a second; None for the film's or avatar's own, 25 for a picture."""
    ends: Ends = "repeat"
    """What follows a film that is shorter than the sound."""
    s3fd: Path | None = None
    """``s3fd.onnx`` to find faces with; None for the embedded face finder."""
    text: str | None = None
    """What is said, to be spoken by the voice of ``speech``."""
    speech: SpeechSettings = field(default_factory=SpeechSettings)
    """Who speaks ``text``, and the texts of segments that name no voice of their own."""
    segments: tuple[Segment, ...] = ()
    """Pieces of sound or text and when they are spoken; the rest of the film is kept as it is."""
    keep: bool = False
    """Whether a film longer than the sound goes on to its end, as it is; else it is cut."""
    face_cut: Cut = WHOLE
    """The part of the film that is used."""
    sound_cut: Cut = WHOLE
    """The part of the sound that is used."""
    view: View = AS_IT_IS
    who: Who = LARGEST
    box: tuple[int, int, int, int] | None = None
    """Top, bottom, left and right of the face in pixels, in place of finding it."""
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Pixels added to the face above, below, left and right."""
    smooth: bool = True
    """Whether the place of the face is smoothed over time."""
    still: bool = False
    """Whether a picture stays still where it would breathe, blink and move a little."""
    encoding: Encoding = BY_NAME
    restore: Path | None = None
    """ONNX of a face restoration network of GFPGAN's kind."""
    label: str | None = None
    """Text shown in the pictures; None for none."""
    sheet: Path | None = None
    """Picture to write with frames before and after, side by side."""
    certificate: Certificate | None = None
    """What to sign the film with."""

    @property
    def sources(self) -> tuple[Path, ...]:
        """All files that are read as media."""
        sounds = [self.sound] if self.sound is not None else []
        spoken = [one.sound for one in self.segments if isinstance(one.sound, Path)]
        return tuple(dict.fromkeys([self.face, *sounds, *spoken]))


pass

_OF_TIME = ("--from", "--ends", "--keep", "--follow", "who= of a segment", "--no-smooth")
"""What only a film has use for."""
_OF_PLACE = ("--crop", "--who", "--box", "--pads", "--s3fd", "--still")
"""What only a face that is yet to be found has use for."""


def refuse_useless(job: RenderJob) -> None:
    """Raise InputError that names the options that the job's face has no use for."""
    asked = _asked(job)
    if is_avatar(job.face):
        _refuse(asked, _OF_TIME + _OF_PLACE, "an avatar")
    elif is_picture(job.face):
        _refuse(asked, _OF_TIME, "a picture")
    else:
        _refuse(asked, ("--still",), "a film")
    if job.box is not None:
        _refuse(asked, ("--who", "--follow", "who= of a segment", "--s3fd"), "given by --box")


def _asked(job: RenderJob) -> set[str]:
    """Return the options that were given, the first of those that go together."""
    given = {
        "--from": job.face_cut != WHOLE,
        "--ends": job.ends != "repeat",
        "--keep": job.keep,
        "--follow": job.who.follow,
        "who= of a segment": any(segment.who is not None for segment in job.segments),
        "--no-smooth": not job.smooth,
        "--crop": job.view != AS_IT_IS,
        "--who": job.who.rule != "largest",
        "--box": job.box is not None,
        "--pads": any(job.pads),
        "--s3fd": job.s3fd is not None,
        "--still": job.still,
    }
    return {option for option, is_given in given.items() if is_given}


def _refuse(asked: set[str], useless: tuple[str, ...], face: str) -> None:
    pairs = {"--from": "--from and --to", "--crop": "--crop and --resize"}
    found = [pairs.get(option, option) for option in useless if option in asked]
    if found:
        raise InputError(f"the face is {face}, which has no use for {', '.join(found)}: leave out")
