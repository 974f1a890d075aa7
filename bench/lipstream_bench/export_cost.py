"""Export a network in several precisions: what each costs, and what it does to the picture."""

import importlib.util
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from lipstream.errors import BackendUnavailable, InputError
from lipstream.inference.backends import available_backends
from lipstream.inference.manifest import read_manifest
from lipstream.timing import Timing
from lipstream_bench.report import FPS, RATE, Report, Settings, Subject, small_print, three_digits
from lipstream_bench.stages import BASELINE, measure_ratios

if TYPE_CHECKING:
    from lipstream_export.parity import Parity
    from lipstream_models.networks.loading import LoadedMouth

METHOD = (
    "each precision is exported once; 'export' is its wall time, tracing, calibration and the"
    " measuring of its picture included, and 'file' its mouth graph (bf16 is a way to compute the"
    " fp32 graph and has no file). 'error', the largest in levels of 255, and PSNR compare the"
    " painted mouths with torch float32 on samples that int8 was not calibrated on. 'ms' is the"
    " mouth graph alone, one frame, in turns with the whole graph in ONNX Runtime, fp32, its median"
    "; 'faster' is the median over turns of the ratio of the two, and 'less CPU', with --threads 1,"
    " the same of processor time, which other programs hardly change"
)
WAV2LIP = "Wav2Lip with seeded random weights"
_PLANNED = "native:int8"
"""Has a file of its own beside the int8 graph."""
_EXPORT, _FILE, _ERROR, _PSNR = "export, s", "file, MB", "max error, levels", "PSNR, dB"
_FASTER = f"times faster than {BASELINE}"
_LESS_CPU = f"times less processor time than {BASELINE}"
_MOST_DB = 99.0
"""Written for a picture that is the same to the last bit: JSON has no infinity."""


def measure_export(settings: Settings) -> Report:
    """Export, compare the pictures and measure, in every runtime of this machine.

    Raises BackendUnavailable without torch, InputError when the checkpoint is none of a lip-sync
    network.
    """
    _require("onnx", "torch", "onnxruntime")
    from lipstream_export.model_folder import PLAN, ExportOptions, export_mouth  # noqa: PLC0415
    from lipstream_export.parity import judge_pictures  # noqa: PLC0415
    from lipstream_export.precisions import collect_samples  # noqa: PLC0415

    export_settings = settings.export
    loaded = _load(export_settings.checkpoint)
    samples = collect_samples(loaded.network, export_settings.calibrate)
    precisions = tuple(dict.fromkeys(("fp32", *export_settings.precisions)))
    options = ExportOptions(whole=True, precisions=precisions, samples=samples)
    with _folder(export_settings.output) as folder:
        seconds = export_mouth(loaded, folder, options)
        parities = judge_pictures(loaded.network, folder, options)
        pictures = {_called(row): row for row in parities if row.backend in _backends(settings)}
        measured = replace(settings, model=folder, backends=tuple(pictures))
        rows, ratios = measure_ratios(measured)
        sizes = {p: _megabytes(folder, p) for p in precisions if p in seconds}
        if (folder / PLAN).is_file():
            sizes[_PLANNED] = (folder / PLAN).stat().st_size / 1e6
        subject = _subject(folder, samples.origin)
    summary = {f"{precision}: {_EXPORT}": spent for precision, spent in seconds.items()}
    summary |= {f"{precision}: {_FILE}": size for precision, size in sizes.items()}
    for name, row in pictures.items():
        assert row.psnr_db is not None, "pictures are compared"
        summary[f"{name}: {_ERROR}"] = row.error
        summary[f"{name}: {_PSNR}"] = min(row.psnr_db, _MOST_DB)
    return Report("export", METHOD, subject, tuple(rows), summary | ratios)


def print_export(report: Report, console: Console) -> None:
    """Show a report of ``measure_export`` as one table."""
    table = Table(
        title="lipstream bench export", title_justify="left", box=box.SIMPLE, pad_edge=False
    )
    table.add_column("runtime", no_wrap=True)
    for heading in ("export s", "MB", "error", "PSNR dB", "ms", "faster", "less CPU"):
        table.add_column(heading, justify="right", no_wrap=True)
    figures_by_name = report.summary
    for row in report.rows:
        precision = row.backend.partition(":")[2] or "fp32"
        cells = [
            figures_by_name.get(f"{precision}: {_EXPORT}"),
            figures_by_name.get(f"{precision}: {_FILE}"),
        ]
        if row.backend == _PLANNED:
            cells[1] = figures_by_name.get(f"{_PLANNED}: {_FILE}")
        cells += [figures_by_name.get(f"{row.backend}: {column}") for column in (_ERROR, _PSNR)]
        cells += [
            row.p50,
            *(figures_by_name.get(f"{row.backend}: {one}") for one in (_FASTER, _LESS_CPU)),
        ]
        if row.backend == BASELINE:
            cells[:2] = [None, None]
        name = "whole graph" if row.backend == BASELINE else row.backend
        table.add_row(name, *("" if f is None else three_digits(f) for f in cells))
    console.print(table)
    console.print(small_print(report), highlight=False, soft_wrap=True)


def _require(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise BackendUnavailable(
                f"lipstream bench export needs {package}: pip install 'lipstream[export]'"
            )


def _load(checkpoint: Path | None) -> "LoadedMouth":
    from lipstream_models.networks.loading import (  # noqa: PLC0415  needs torch
        LoadedMouth,
        load_network,
        seed_weights,
    )
    from lipstream_models.networks.wav2lip import Wav2Lip  # noqa: PLC0415

    if checkpoint is None:
        network = seed_weights(Wav2Lip())
        return LoadedMouth(network, WAV2LIP, "1", "CC0-1.0", "lipstream bench export")
    loaded = load_network(checkpoint)
    if not isinstance(loaded, LoadedMouth):
        raise InputError(f"{checkpoint} is a face finder's: bench export takes a lip-sync network")
    return loaded


@contextmanager
def _folder(output: Path | None) -> Generator[Path]:
    """Yield the folder asked for, or one that is removed in the end."""
    if output is not None:
        yield output
        return
    with tempfile.TemporaryDirectory(prefix="lipstream-") as made:
        yield Path(made) / "model"


def _backends(settings: Settings) -> tuple[str, ...]:
    named = {backend.partition(":")[0] for backend in settings.backends}
    installed = (*available_backends(), "native")  # judged where it runs
    return installed if "auto" in named else tuple(one for one in installed if one in named)


def _called(row: "Parity") -> str:
    """Return "openvino:int8", and the runtime alone for fp32."""
    return row.backend if row.graph == "fp32" else f"{row.backend}:{row.graph}"


def _megabytes(folder: Path, precision: str) -> float:
    ending = "" if precision == "fp32" else f"_{precision}"
    return (folder / f"mouth{ending}.onnx").stat().st_size / 1e6


def _subject(folder: Path, origin: str) -> Subject:
    manifest = read_manifest(folder)
    timing = Timing(RATE, FPS, manifest.mel_columns, manifest.window_start_ms)
    return Subject(f"{manifest.name} {manifest.version}", origin, float(FPS), timing.look_ahead_ms)
