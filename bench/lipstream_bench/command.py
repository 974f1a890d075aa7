"""``lipstream bench``: measure this machine."""

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from lipstream.cli import add_avatar_argument, add_model_argument
from lipstream.errors import InputError
from lipstream.inference.backends import BACKENDS, PRECISIONS, available_backends
from lipstream.inference.manifest import embedded_models
from lipstream.types import Image
from lipstream_bench.export_cost import measure_export, print_export
from lipstream_bench.gpu_limits import measure_limits, print_limits
from lipstream_bench.live import measure_latency, measure_sessions
from lipstream_bench.report import (
    ExportSettings,
    Report,
    Settings,
    check_plot,
    plot_report,
    print_report,
)
from lipstream_bench.stages import measure_stages
from lipstream_models.evaluation.command import FilmSettings, evaluate_films

_BENCHMARKS: dict[str, Callable[[Settings], Report]] = {
    "stages": measure_stages,
    "latency": measure_latency,
    "sessions": measure_sessions,
    "export": measure_export,
    "limits": measure_limits,
}
_PRINTED: dict[str, Callable[[Report, Console], None]] = {
    "export": print_export,
    "limits": print_limits,
}
_WANTED = {
    "still_lve_percent": "<= 2.2",
    "still_lmd_percent": "<= 1.15",
    "still_gap_correlation_put_right": ">= 0.80",
    "still_gap_spread": "0.8 to 1.1",
    "sharpness_inside": "0.85 to 1.2",
    "sharpness_lips": "0.85 to 1.2",
    "sharpness_skin": "0.85 to 1.2",
    "flicker": "0.6 to 1.1",
    "closure_recall": ">= 0.90",
    "closure_precision": ">= 0.80",
    "silence_levels": "0",
    "film_leak_slope": "<= 0.24",
}
"""What a mouth that convinces reaches, by figure."""
_QUALITY = "quality"
_SECONDS = {"stages": 1.0, "latency": 10.0, "sessions": 5.0, "export": 2.0, "limits": 0.1}
"""How long each figure is measured unless told."""
_BUSY = 0.7
"""Load (programs that want to run, over a minute) above which a figure is doubtful."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``lipstream bench`` takes."""
    parser.add_argument(
        "benchmark",
        choices=[*_BENCHMARKS, _QUALITY],
        help="stages: ms of each step of a frame; latency: sound in to picture out; sessions: how"
        " many at 25 fps; export: what each precision of a network costs and does to the picture;"
        " limits: how many sessions some GPUs serve at most, calculated; quality: a model's mouths"
        " against those of filmed people, beside another model's",
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
    quality = parser.add_argument_group("for quality")
    quality.add_argument("--films", type=Path, metavar="FOLDER", help="films of people, 3 s each")
    quality.add_argument(
        "--against",
        type=Path,
        metavar="MODEL_OR_JSON",
        help="another model's folder, or what --json wrote of it, with its sheet beside it",
    )
    quality.add_argument("--limit", type=int, default=0, metavar="N", help="only N films")
    quality.add_argument("--sheet", type=Path, metavar="FILE", help="picture of both, side by side")
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
    if arguments.benchmark == _QUALITY:
        return _run_quality(arguments)
    settings, console = _settings(arguments), Console()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    report = _BENCHMARKS[arguments.benchmark](settings)
    show = _PRINTED.get(arguments.benchmark, print_report)
    show(report, console)
    if load > _BUSY and report.rows:
        console.print(
            f"note: other programs kept this machine busy (load {load:.1f} before measuring):"
            " an idle one gives better figures",
            highlight=False,
            soft_wrap=True,
        )
    if arguments.json is not None:
        report.save(arguments.json)
    if arguments.plot is not None and report.rows:
        plot_report(report, arguments.plot)
    return 0


def _run_quality(arguments: argparse.Namespace) -> int:
    if arguments.films is None or not arguments.films.is_dir():
        raise InputError(f"--films {arguments.films}: name a folder of films of people who speak")
    if arguments.limit < 0:
        raise InputError(f"--limit {arguments.limit}: give 0 for all films, or how many")
    model = None if arguments.model is None else Path(arguments.model)
    settings = QualitySettings(
        arguments.films, arguments.limit, arguments.json, arguments.sheet, arguments.threads or 1
    )
    compare_quality(model, arguments.against, settings, Console())
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
    for path in (arguments.json, arguments.plot, arguments.sheet):
        if path is not None and not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent}: make it first")
    if arguments.plot is not None:
        check_plot(arguments.plot)


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """What is measured, and what is written of it."""

    films: Path
    limit: int = 0
    json: Path | None = None
    sheet: Path | None = None
    threads: int = 1


def compare_quality(
    model: Path | None, against: Path | None, settings: QualitySettings, console: Console
) -> None:
    """Judge ``model``, by default the embedded ``quality``, and print it beside ``against``.

    ``against`` is a model folder, judged too, or the JSON written of one before, whose sheet is the
    .png of the same name. Raises LipstreamError.
    """
    folder = model or embedded_models()["quality"]
    other, other_sheet = _other(against, settings)
    mine, sheet = _judge(folder, settings, wanted=settings.sheet is not None)
    if settings.sheet is not None and sheet is not None:
        cv2.imwrite(str(settings.sheet), _side_by_side(sheet, other_sheet))
    console.print(_table(folder.name, mine, against.stem if against else None, other))


def _judge(
    folder: Path, settings: QualitySettings, *, wanted: bool, keep: bool = True
) -> tuple[dict[str, float], Image | None]:
    """Return the medians of a model folder by name, and its sheet where one is wanted."""
    at = settings.sheet if wanted else None
    films = FilmSettings(settings.limit, at, threads=settings.threads)
    report = evaluate_films(folder, settings.films, films)
    if keep and settings.json is not None:
        settings.json.write_text(json.dumps(asdict(report), indent=1), "utf-8")
    picture = None if at is None else cv2.imread(str(at))
    return {name: one.median for name, one in report.summary.items()}, _image(picture)


def _other(path: Path | None, settings: QualitySettings) -> tuple[dict[str, float], Image | None]:
    if path is None:
        return {}, None
    if path.is_dir():
        return _judge(path, settings, wanted=settings.sheet is not None, keep=False)
    try:
        summary = json.loads(path.read_text("utf-8"))["summary"]
        medians = {str(name): float(one["median"]) for name, one in summary.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"--against {path} is no model folder and no report of 'bench quality --json': {error}"
        ) from error
    sheet = path.with_suffix(".png")
    return medians, _image(cv2.imread(str(sheet)) if sheet.is_file() else None)


def _image(picture: object) -> Image | None:
    return None if picture is None else np.asarray(picture, np.uint8)


def _side_by_side(sheet: Image, other: Image | None) -> Image:
    """Return two sheets side by side, the shorter one filled up."""
    if other is None:
        return sheet
    height = max(len(sheet), len(other))
    both = [np.pad(one, ((0, height - len(one)), (0, 8), (0, 0))) for one in (sheet, other)]
    return np.concatenate(both, 1)


def _table(
    name: str, mine: dict[str, float], other_name: str | None, other: dict[str, float]
) -> Table:
    table = Table(title="medians over the clips")
    for heading in ("figure", name, *([other_name] if other_name else []), "wanted"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for figure in dict.fromkeys([*mine, *other]):
        cells = [_cell(mine.get(figure)), *([_cell(other.get(figure))] if other_name else [])]
        table.add_row(figure, *cells, _WANTED.get(figure, ""))
    return table


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
