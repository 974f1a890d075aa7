"""``lipstream render``: a face and a sound file to a film."""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from lipstream_clients.arguments import add_engine_arguments, add_s3fd_argument, frames_a_second
from lipstream_clients.faces_of import Ends
from lipstream_clients.render import Rendered, RenderJob, render


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``lipstream render`` takes."""
    parser.add_argument(
        "face",
        type=Path,
        metavar="FACE",
        help="picture, film, avatar pack, or 'ada' (embedded)",
    )
    parser.add_argument(
        "sound", type=Path, metavar="AUDIO", help="sound file, or a film with the sound to use"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILM", help=".mp4, .m4v, .mov or .mkv"
    )
    parser.add_argument(
        "--fps",
        type=frames_a_second,
        metavar="N",
        help="frames a second, such as 30000/1001 (default: the film's own; 25 for a picture)",
    )
    parser.add_argument(
        "--ends",
        choices=get_args(Ends),
        default="repeat",
        help="after the end of a film shorter than the sound: from the start again (default),"
        " backwards and forth, or hold its last picture",
    )
    add_engine_arguments(parser)
    add_s3fd_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Render, showing progress when a person watches; returns the exit code."""
    fps: Fraction | None = arguments.fps
    job = RenderJob(
        face=arguments.face,
        sound=arguments.sound,
        output=arguments.output,
        model=arguments.model,
        backend=arguments.backend,
        fps=fps,
        ends=arguments.ends,
        s3fd=arguments.s3fd,
    )
    begun = time.monotonic()
    with _progress_bar() as show:
        rendered = render(job, show)
    print(_summary(job, rendered, time.monotonic() - begun))
    if rendered.faceless == rendered.frames:
        print(
            f"warning: no face was found anywhere in {job.face.name}: its pictures are unchanged",
            file=sys.stderr,
        )
    return 0


@contextlib.contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Give a function to call with the frames done and all frames; draws only on a terminal."""
    columns = (
        TextColumn("rendering"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task("render", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _summary(job: RenderJob, rendered: Rendered, took_s: float) -> str:
    text = (
        f"{job.output}: {rendered.frames} frames at {float(rendered.fps):g} fps,"
        f" {rendered.seconds:.2f} s of sound, made in {took_s:.1f} s"
    )
    if rendered.faceless:
        text += f"; {rendered.faceless} frames without a face left as they were"
    return text
