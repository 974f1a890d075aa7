"""Options that would do nothing with the face at hand are refused, not passed over."""

from lipstream.errors import InputError
from lipstream_clients.dubbing.footage import AS_IT_IS
from lipstream_clients.dubbing.programme import WHOLE
from lipstream_clients.faces_of import is_avatar
from lipstream_clients.media import is_picture
from lipstream_clients.render_job import RenderJob

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
