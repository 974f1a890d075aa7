"""``lipstream render``: a face and a sound file to a film."""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from lipstream.film.render import Rendered, RenderJob, render
from lipstream_clients import render_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``lipstream render`` takes."""
    render_arguments.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Render, showing progress when a person watches; returns the exit code."""
    job = render_arguments.job_of(arguments)
    begun = time.monotonic()
    try:
        with _progress_bar() as show:
            rendered = render(job, show)
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)
        raise
    print(_summary(job, rendered, time.monotonic() - begun))
    if rendered.faceless == rendered.frames:
        print(
            f"warning: no face was found anywhere in {job.face.name}: its pictures are unchanged",
            file=sys.stderr,
        )
    return 0


@contextlib.contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
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


def _summary(job: RenderJob, rendered: Rendered, took_s: float) -> str:
    text = (
        f"{job.output}: {rendered.frames} frames at {float(rendered.fps):g} fps,"
        f" {rendered.seconds:.2f} s of sound, made in {took_s:.1f} s"
    )
    if rendered.resumed:
        text += f"; {rendered.resumed} frames were there from an earlier run"
    if rendered.faceless:
        text += f"; {rendered.faceless} frames without a face left as they were"
    return text
