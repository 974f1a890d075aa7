"""``lipstream render``: arguments to a job, and the job to a film."""

import argparse
import contextlib
import re
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from lipstream.avatar.pack import embedded_avatars
from lipstream.cli import (
    add_engine_arguments,
    add_s3fd_argument,
    add_text_arguments,
    add_voice_arguments,
    frames_a_second,
    one_of,
    settings_of,
    text_of,
)
from lipstream.errors import InputError
from lipstream.film.job import (
    Ends,
    Fit,
    Framing,
    Rectangle,
    RenderJob,
    collect_segments,
    parse_cut,
    parse_face_choice,
)
from lipstream.film.provenance import DEFAULT_LABEL, Certificate
from lipstream.film.render import RenderResult, render
from lipstream.media import AudioCodec, Encoding, Quality, VideoCodec

_SIZE = re.compile(r"(\d+)?x(\d+)?")
_SIDES = ("TOP", "BOTTOM", "LEFT", "RIGHT")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all that ``lipstream render`` takes."""
    parser.add_argument(
        "face",
        type=Path,
        metavar="FACE",
        help=f"picture, film, avatar pack, or an embedded avatar: {one_of(embedded_avatars())}",
    )
    parser.add_argument(
        "sound",
        type=Path,
        nargs="?",
        metavar="AUDIO",
        help="sound file, or a film with the sound to use",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILM",
        help=".mp4, .m4v, .mov, .mkv or .webm",
    )
    _add_time(parser.add_argument_group("what is spoken when"))
    add_voice_arguments(parser)
    _add_face(parser.add_argument_group("face"))
    _add_picture(parser.add_argument_group("picture and file"))
    _add_marks(parser.add_argument_group("marks"))
    add_engine_arguments(parser)
    add_s3fd_argument(parser)


def _add_time(group: argparse._ArgumentGroup) -> None:
    add_text_arguments(group, "AUDIO")
    group.add_argument(
        "--ends",
        choices=get_args(Ends),
        default="repeat",
        help="after the end of a film shorter than the sound: from the start again (default),"
        " backwards and forth, hold its last picture, or cut the sound",
    )
    group.add_argument(
        "--keep", action="store_true", help="go on to the end of a film longer than the sound"
    )
    for name, what in (("", "film"), ("audio-", "sound")):
        group.add_argument(
            f"--{name}from", metavar="TIME", help=f"use the {what} from here: seconds, or 1:03.5"
        )
        group.add_argument(f"--{name}to", metavar="TIME", help=f"use the {what} up to here")
    group.add_argument(
        "--segment",
        action="append",
        default=[],
        metavar="sound=FILE,at=TIME",
        help="in place of AUDIO, repeatable: say this from here, and keep the rest as it is; or"
        " text=TEXT,at=TIME, with voice=NAME and speed=TIMES where they differ from --voice and"
        " --speed; also until=TIME (of the film), from=TIME and to=TIME (of the sound), who=FACE",
    )
    group.add_argument(
        "--segments", type=Path, metavar="TOML", help="the same from a file of [[segment]] tables"
    )


def _add_face(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--who",
        default="largest",
        metavar="FACE",
        help="of several faces: largest (default), a number (1 is the one on the left), or the one"
        " nearest to a point x,y in pixels",
    )
    group.add_argument(
        "--follow", action="store_true", help="stay with the person picked first, through the film"
    )
    group.add_argument(
        "--box", type=int, nargs=4, metavar=_SIDES, help="the face is here, in every picture"
    )
    group.add_argument(
        "--pads",
        type=int,
        nargs=4,
        default=(0, 0, 0, 0),
        metavar=_SIDES,
        help="pixels added to the face on each side",
    )
    group.add_argument(
        "--no-smooth", action="store_true", help="do not smooth the face's place over time"
    )
    group.add_argument(
        "--still", action="store_true", help="a picture does not blink, breathe and move"
    )
    group.add_argument(
        "--restore",
        type=Path,
        metavar="ONNX",
        help="finer mouths by your face restoration network (GFPGAN's kind, 512 x 512)",
    )


def _add_picture(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--fps",
        type=frames_a_second,
        metavar="N",
        help="frames a second, such as 30000/1001 (default: the film's own; 25 for a picture)",
    )
    group.add_argument(
        "--crop", type=int, nargs=4, metavar=_SIDES, help="use this part; -1 is the picture's edge"
    )
    group.add_argument(
        "--resize", metavar="SIZE", help="divide the sides by a number, or 640x360, 640x, x360"
    )
    group.add_argument(
        "--fit",
        choices=get_args(Fit),
        default="pad",
        help="where --resize 640x360 has other proportions: black beside the picture (default), its"
        " edges cropped, or stretched",
    )
    group.add_argument("--quality", choices=get_args(Quality), default="medium")
    group.add_argument("--codec", choices=get_args(VideoCodec), help="default: h264, vp9 for .webm")
    group.add_argument(
        "--audio",
        choices=get_args(AudioCodec),
        help="default: aac, opus for .webm; copy takes the sound file as it is",
    )
    group.add_argument(
        "--units",
        type=Path,
        metavar="FILE",
        help="write the lips of each frame as ARKit units and lip measures, .csv or .json",
    )
    group.add_argument(
        "--captions",
        type=Path,
        metavar="FILE",
        help="write captions of the texts that are spoken, .srt or .vtt",
    )
    group.add_argument(
        "--burn-captions", action="store_true", help="draw the same captions into the pictures"
    )
    group.add_argument(
        "--sheet", type=Path, metavar="PICTURE", help="write a contact sheet of before and after"
    )


def _add_marks(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--label",
        nargs="?",
        const=DEFAULT_LABEL,
        metavar="TEXT",
        help=f"show a label in the pictures (default text: {DEFAULT_LABEL})",
    )
    group.add_argument(
        "--sign", type=Path, metavar="PEM", help="sign the film by C2PA with this certificate chain"
    )
    group.add_argument("--sign-key", type=Path, metavar="PEM", help="the certificate's private key")
    group.add_argument(
        "--sign-algorithm", default="es256", metavar="NAME", help="of the key (default: es256)"
    )


def job_of(arguments: argparse.Namespace) -> RenderJob:
    """Make a job of what was parsed; raises InputError."""
    _check_speech_source(arguments)
    framing = _framing(arguments.crop, arguments.resize, arguments.fit)
    certificate = _certificate(arguments)
    return RenderJob(
        face=arguments.face,
        sound=arguments.sound,
        output=arguments.output,
        model=arguments.model,
        backend=arguments.backend,
        precision=arguments.precision,
        fps=arguments.fps,
        ends=arguments.ends,
        s3fd=arguments.s3fd,
        text=text_of(arguments),
        speech=settings_of(arguments),
        segments=collect_segments(arguments.segments, arguments.segment),
        keep=arguments.keep,
        face_cut=parse_cut(getattr(arguments, "from"), arguments.to),
        sound_cut=parse_cut(arguments.audio_from, arguments.audio_to),
        view=framing,
        who=parse_face_choice(arguments.who, arguments.follow),
        box=None if arguments.box is None else tuple(arguments.box),
        pads=tuple(arguments.pads),
        smooth=not arguments.no_smooth,
        still=arguments.still,
        encoding=Encoding(arguments.codec, arguments.audio, arguments.quality),
        restore=arguments.restore,
        label=arguments.label,
        sheet=arguments.sheet,
        units=arguments.units,
        captions=arguments.captions,
        burn_captions=arguments.burn_captions,
        certificate=certificate,
    )


def _check_speech_source(arguments: argparse.Namespace) -> None:
    has_text = arguments.text is not None or arguments.text_file is not None
    has_segments = arguments.segments is not None or bool(arguments.segment)
    given = (arguments.sound is not None) + has_text + has_segments
    if given > 1:
        raise InputError("give one of AUDIO, --text, --text-file and --segment: not several")
    if given == 0:
        raise InputError("nothing is said: give AUDIO, --text, or --segment sound=FILE,at=TIME")


def _framing(crop: list[int] | None, resize: str | None, fit: Fit) -> Framing:
    part = None if crop is None else Rectangle(*crop)
    if resize is None:
        return Framing(part)
    if (match := _SIZE.fullmatch(resize)) and any(match.groups()):
        width, height = (int(side) if side else -1 for side in match.groups())
        return Framing(part, size=(width, height), fit=fit)
    try:
        shrink = float(resize)
    except ValueError:
        shrink = 0.0
    if not 0.1 <= shrink <= 100:
        raise InputError(f"--resize {resize}: give a number to divide by, or 640x360, 640x, x360")
    return Framing(part, shrink)


def _certificate(arguments: argparse.Namespace) -> Certificate | None:
    if (arguments.sign is None) != (arguments.sign_key is None):
        raise InputError("signing needs both: --sign CHAIN.pem and --sign-key KEY.pem")
    if arguments.sign is None:
        return None
    return Certificate(arguments.sign, arguments.sign_key, arguments.sign_algorithm)


def run(arguments: argparse.Namespace) -> int:
    """Render, showing progress when a person watches; returns the exit code."""
    job = job_of(arguments)
    begun = time.monotonic()
    try:
        with _progress_bar() as show:
            result = render(job, show)
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)
        raise
    print(_summary(job, result, time.monotonic() - begun))
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    if result.faceless == result.frames:
        print(f"warning: {_nobody(job, result)}", file=sys.stderr)
    return 0


def _nobody(job: RenderJob, result: RenderResult) -> str:
    """Say why nobody speaks in a whole film."""
    undriven, name = result.undriven, job.face.name
    if undriven.turned > undriven.covered:
        why = f"the face in {name} is turned away wherever it should speak"
    elif undriven.covered:
        why = f"the mouth in {name} is covered, or hardly seen, wherever it should speak"
    elif job.who.rule == "nth" and job.who.place > 1:
        place = job.who.place
        why = f"--who {place}: there are never {place} faces in {name} where it should speak"
    else:
        why = f"no face was found anywhere in {name} where it should speak"
    return f"{why}: its pictures are unchanged"


@contextlib.contextmanager
def _progress_bar() -> Generator[Callable[[int, int], None]]:
    """Give a function to call with the steps done and all steps; draws only on a terminal."""
    columns = (
        TextColumn("rendering"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task("render", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _summary(job: RenderJob, result: RenderResult, took_s: float) -> str:
    text = (
        f"{job.output}: {result.frames} frames at {float(result.fps):g} fps,"
        f" {result.seconds:.2f} s of sound, made in {took_s:.1f} s"
    )
    if result.resumed:
        text += f"; {result.resumed} frames were there from an earlier run"
    undriven = result.undriven
    for frames, why in (
        (undriven.faceless, "without a face"),
        (undriven.turned, "with the face turned away"),
        (undriven.covered, "with the mouth covered"),
    ):
        if frames:
            text += f"; {frames} frames {why} left as they were"
    return text
