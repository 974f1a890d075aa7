"""``lipstream bench``: measure this machine."""

import argparse
import os
from pathlib import Path

from rich.console import Console

from lipstream.cli_options import add_avatar_argument, add_model_argument
from lipstream.errors import InputError
from lipstream.inference.backends import BACKENDS, PRECISIONS, available_backends
from lipstream_bench.export_cost import measure_export, print_export
from lipstream_bench.live import measure_latency, measure_sessions
from lipstream_bench.report import check_plot, plot_report, print_report
from lipstream_bench.stages import measure_stages
from lipstream_bench.subject import ExportSettings, Settings

_BENCHMARKS = {
    "stages": measure_stages,
    "latency": measure_latency,
    "sessions": measure_sessions,
    "export": measure_export,
}
_SECONDS = {"stages": 1.0, "latency": 10.0, "sessions": 5.0, "export": 2.0}
"""How long each figure is measured unless told."""
_BUSY = 0.7
"""Load (programs that want to run, over a minute) above which a figure is doubtful."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``lipstream bench`` takes."""
    parser.add_argument(
        "benchmark",
        choices=list(_BENCHMARKS),
        help="stages: ms of each step of a frame; latency: sound in to picture out; sessions: how"
        " many at 25 fps; export: what each precision of a network costs and does to the picture",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it: .png, .svg or .pdf")
    add_model_argument(parser)
    add_avatar_argument(parser)
    parser.add_argument(
        "--backends",
        default="auto",
        metavar="A,B",
        help=f"auto, all, or some of {','.join(BACKENDS)}, each with a precision if you like:"
        " openvino:int8 (default: auto)",
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="measure each figure this long (0.1 to 3600)"
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="of the backend")
    parser.add_argument(
        "--deadline-ms", type=float, default=80.0, metavar="MS", help="for sessions (default: 80)"
    )
    _add_export_arguments(parser.add_argument_group("for export"))


def _add_export_arguments(group: "argparse._ArgumentGroup") -> None:
    defaults = ExportSettings()
    group.add_argument(
        "--checkpoint",
        type=Path,
        metavar="CKPT",
        help="network to export (default: Wav2Lip with seeded random weights)",
    )
    group.add_argument(
        "--precision", nargs="+", default=list(defaults.precisions), choices=PRECISIONS
    )
    group.add_argument(
        "--calibrate",
        type=Path,
        metavar="FOLDER",
        help="faces and speech to calibrate and judge on (default: an embedded avatar, espeak)",
    )
    group.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="keep what is exported here"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, show, and write what was asked for; returns the exit code."""
    _check_files(arguments)
    settings, console = _settings(arguments), Console()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    report = _BENCHMARKS[arguments.benchmark](settings)
    show = print_export if arguments.benchmark == "export" else print_report
    show(report, console)
    if load > _BUSY:
        console.print(
            f"note: other programs kept this machine busy (load {load:.1f} before measuring):"
            " an idle one gives better figures",
            highlight=False,
            soft_wrap=True,
        )
    if arguments.json is not None:
        report.save(arguments.json)
    if arguments.plot is not None:
        plot_report(report, arguments.plot)
    return 0


def _settings(arguments: argparse.Namespace) -> Settings:
    seconds = arguments.seconds
    if seconds is None:
        seconds = _SECONDS[arguments.benchmark]
    if not 0.1 <= seconds <= 3600:
        raise InputError(f"--seconds {seconds:g}: give 0.1 to 3600")
    return Settings(
        model=arguments.model,
        avatar=arguments.avatar,
        backends=_backends(arguments.backends),
        seconds=seconds,
        threads=arguments.threads,
        deadline_ms=arguments.deadline_ms,
        export=ExportSettings(
            checkpoint=arguments.checkpoint,
            precisions=tuple(arguments.precision),
            calibrate=arguments.calibrate,
            output=arguments.output,
        ),
    )


def _backends(words: str) -> tuple[str, ...]:
    if words == "all":
        return available_backends()
    return tuple(word.strip() for word in words.split(","))


def _check_files(arguments: argparse.Namespace) -> None:
    for path in (arguments.json, arguments.plot):
        if path is not None and not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent}: make it first")
    if arguments.plot is not None:
        check_plot(arguments.plot)
