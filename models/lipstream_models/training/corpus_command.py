"""``lipstream train download | prepare``: fetch the GRID corpus and cut it into training arrays."""

import argparse
import sys
from pathlib import Path

from lipstream_models.corpora import grid_download
from lipstream_models.corpora.grid_download import RECORD, RemoteFile


def add_download_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--speakers", nargs="+", required=True, metavar="NAME", help="s1 to s34, without s21"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write; continued if there"
    )
    parser.add_argument("--record", default=RECORD, metavar="URL", help="where the record is")
    parser.add_argument("--keep", action="store_true", help="keep the archives once unpacked")


def run_download(arguments: argparse.Namespace) -> int:
    """Download, check and unpack what is not there yet."""
    out: Path = arguments.out
    missing = [name for name in arguments.speakers if not _is_here(out, name)]
    if missing:
        words, *films = grid_download.choose(grid_download.list_files(arguments.record), missing)
        _fetch(words, out)
        for film in films:
            name = film.name.removesuffix(".zip")
            grid_download.write_alignments(out / words.name, name, _table(out, name))
            _fetch(film, out)
            clips = grid_download.unpack_speaker(out / film.name, out / name)
            print(f"{name}: {clips} clips", flush=True)
            if not arguments.keep:
                (out / film.name).unlink()
    for name in arguments.speakers:
        options = f"--grid {out / name} --alignments {_table(out, name)}"
        print(f"next: lipstream train prepare {options} --out FOLDER")
    return 0


def _table(out: Path, name: str) -> Path:
    return out / "alignments" / f"{name}.tsv"


def _is_here(out: Path, name: str) -> bool:
    return (out / name).is_dir() and _table(out, name).is_file()


def _fetch(file: RemoteFile, out: Path) -> None:
    last_percent = -1
    for at in grid_download.fetch(file, out):
        percent = 100 * at.done // at.size
        if percent != last_percent:
            last_percent = percent
            sys.stderr.write(f"\r{at.name}: {at.done >> 20} of {at.size >> 20} MB, {percent} %")
    sys.stderr.write("\n")


def add_prepare_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--grid", type=Path, required=True, help="folder with one speaker's clips")
    parser.add_argument("--alignments", type=Path, help="table of word times (clip, start_s, ...)")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write; continued if there"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")


def run_prepare(arguments: argparse.Namespace) -> int:
    """Prepare what is not there yet."""
    from lipstream_models.corpora.grid_corpus import prepare  # noqa: PLC0415

    for progress in prepare(
        arguments.grid, arguments.out, alignments=arguments.alignments, jobs=arguments.jobs
    ):
        line = f"{progress.done} of {progress.total} clips, {progress.faceless} without a face"
        sys.stderr.write(f"\r{line}")
    sys.stderr.write("\n")
    return 0
