"""``lipstream export``: networks into the files that lipstream runs."""

import argparse
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from lipstream.errors import BackendUnavailable

if TYPE_CHECKING:
    from lipstream_export.parity import Parity
    from lipstream_models.networks.loading import LoadedLipNetwork, LoadedMouth

WORDS = ("name", "version", "licence", "source")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lipstream export``."""
    parser.description = (
        "Turn a checkpoint (Wav2Lip, S3FD, or one of 'lipstream train') into ONNX files."
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="a .pth file")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write"
    )
    parser.add_argument(
        "--whole", action="store_true", help="also write whole.onnx: mel, face -> frame"
    )
    parser.add_argument(
        "--verify", action="store_true", help="print a parity table; exit code 1 when it fails"
    )
    parser.add_argument(
        "--window-start-ms",
        type=int,
        choices=(-40, 0),
        help="start of the mel window: -40 as Wav2Lip was trained, 0 as its scripts run it",
    )
    parser.add_argument(
        "--setting",
        choices=("quality", "low-delay"),
        default="quality",
        help="how far a lip network hears ahead (default quality)",
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        default=["fp32"],
        choices=("fp32", "fp16", "bf16", "int8"),
        help="graphs to write and, with --verify, precisions to judge; fp32 is always there (bf16"
        " is how OpenVINO computes it if told)",
    )
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="FOLDER",
        help="films of talking people, or pictures of faces and sounds: int8 is fitted to them and"
        " judged on others of them (default: the embedded avatar and made-up speech)",
    )
    for word in WORDS:
        parser.add_argument(f"--{word}", metavar="TEXT", help=f"{word} to write into model.toml")


def run(arguments: argparse.Namespace) -> int:
    """Export; return 0, or 1 when --verify finds that parity does not hold."""
    _require("onnx", "torch")
    return _export_checkpoint(arguments)


def _require(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise BackendUnavailable(
                f"lipstream export needs {package}: pip install 'lipstream[export]'"
            )


def _export_checkpoint(arguments: argparse.Namespace) -> int:
    from lipstream_export import model_folder, parity  # noqa: PLC0415
    from lipstream_models.networks import loading  # noqa: PLC0415

    loaded = loading.load_network(Path(arguments.checkpoint))
    if isinstance(loaded, loading.LoadedLipNetwork):
        return _export_lips(arguments, loaded)
    if isinstance(loaded, loading.LoadedMouth):
        return _export_mouth(arguments, replace(loaded, **_given_words(arguments)))
    model_folder.export_s3fd(loaded, arguments.output)
    _say(arguments.output)
    return report_parity(parity.compare_s3fd(loaded, arguments.output)) if arguments.verify else 0


def _given_words(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {word: getattr(arguments, word) for word in WORDS}
    return {word: text for word, text in given.items() if text is not None}


def _export_lips(arguments: argparse.Namespace, loaded: "LoadedLipNetwork") -> int:
    from lipstream_export.model_folder import export_lips, with_plain_decoder  # noqa: PLC0415

    lips = with_plain_decoder(replace(loaded, **_given_words(arguments)))
    export_lips(lips, arguments.setting, arguments.output)
    _say(arguments.output)
    return 0


def _export_mouth(arguments: argparse.Namespace, loaded: "LoadedMouth") -> int:
    from lipstream_export import model_folder, parity  # noqa: PLC0415

    samples = None
    if arguments.calibrate is not None or set(arguments.precision) - {"fp32"}:
        from lipstream_export.precisions import collect_samples  # noqa: PLC0415  opens a face finder

        _require("onnxruntime")
        samples = collect_samples(loaded.network, arguments.calibrate)
    options = model_folder.ExportOptions(
        window_start_ms=arguments.window_start_ms,
        whole=arguments.whole,
        precisions=tuple(dict.fromkeys(arguments.precision)),
        samples=samples,
    )
    model_folder.export_mouth(loaded, arguments.output, options)
    _say(arguments.output)
    for shortfall in parity.shortfalls(arguments.output) if samples is not None else ():
        print(f"warning: {shortfall}", file=sys.stderr)
    if not arguments.verify:
        return 0
    rows = parity.compare_mouth(loaded.network, arguments.output)
    if samples is not None:
        rows += parity.judge_pictures(loaded.network, arguments.output, options)
        print(
            f"PSNR is against torch float32, on {samples.origin}, a third of it held out for this"
        )
    return report_parity(rows)


def _say(folder: Path) -> None:
    files = ", ".join(sorted(file.name for file in folder.iterdir() if file.is_file()))
    print(f"wrote {folder}: {files}")


def report_parity(rows: "list[Parity]") -> int:
    """Print a parity table; return 1 when a row does not hold, else 0."""
    table = Table("graph", "output", "runtime", "max abs error", "PSNR", "wanted", "")
    for row in rows:
        verdict = "ok" if row.holds else "FAILS"
        psnr = "" if row.psnr_db is None else f"{row.psnr_db:.1f} dB"
        tolerance = f"{row.tolerance:.2g} {row.unit}" if row.psnr_db is None else row.expected
        error = f"{row.error:.2g} {row.unit}"
        table.add_row(row.graph, row.output, row.backend, error, psnr, tolerance, verdict)
    Console(file=sys.stdout).print(table)
    failed = sum(not row.holds for row in rows)
    print(f"parity: {f'{failed} rows FAIL' if failed else 'holds'}")
    return 1 if failed else 0
