"""``lipstream train``: from data to weights, step by step."""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lipstream_models.corpora import grid_corpus
from lipstream_models.downloads import shown_progress
from lipstream_models.training import lip_command
from lipstream_models.training.run_command import add_run_arguments, carry_out, options_of

if TYPE_CHECKING:
    from lipstream_models.corpora.grid_corpus import PreparedFolder
    from lipstream_models.training.sync_scorer import SyncTrainer


def add_download_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--speakers", nargs="+", required=True, metavar="NAME", help="s1 to s34, without s21"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write; continued if there"
    )
    parser.add_argument(
        "--record", default=grid_corpus.RECORD, metavar="URL", help="where the record is"
    )
    parser.add_argument("--keep", action="store_true", help="keep the archives once unpacked")


def run_download(arguments: argparse.Namespace) -> int:
    """Download, check and unpack what is not there yet."""
    out: Path = arguments.out
    missing = [name for name in arguments.speakers if not _is_here(out, name)]
    if missing:
        with shown_progress() as show:
            words, *films = grid_corpus.choose(grid_corpus.list_files(arguments.record), missing)
            grid_corpus.fetch(words, out, show)
            for film in films:
                name = film.name.removesuffix(".zip")
                grid_corpus.write_alignments(out / words.name, name, _table(out, name))
                grid_corpus.fetch(film, out, show)
                clips = grid_corpus.unpack_speaker(out / film.name, out / name)
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


def add_sync_scorer_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_run_arguments(parser, save_every=250)
    parser.add_argument("--weights", type=Path, help="at the end, write the weights alone here too")
    parser.add_argument(
        "--check",
        type=Path,
        nargs="*",
        default=[],
        metavar="FOLDER",
        help="at the end, score all clips of these folders too: speakers never trained on",
    )
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=8, help="clips in a step (default 8)")


def run_sync_scorer(arguments: argparse.Namespace) -> int:
    """Train, with a log and a plot beside the checkpoint, and check what was learned."""
    from lipstream_models.corpora.grid_corpus import PreparedFolder, split_rows  # noqa: PLC0415
    from lipstream_models.training.sync_scorer import SYNC_OPTIONS, MomentSource, SyncTrainer  # noqa: PLC0415

    folders, strangers = (
        [PreparedFolder(path) for path in paths] for paths in (arguments.clips, arguments.check)
    )
    source = MomentSource([(folder, split_rows(folder)[0]) for folder in folders])
    samples = arguments.steps * arguments.batch
    options = replace(options_of(arguments, SYNC_OPTIONS), samples=samples, batch=arguments.batch)
    trainer = SyncTrainer(source, options)
    carry_out(trainer, arguments)
    if arguments.weights:
        trainer.export(arguments.weights)
    _check_scorer(trainer, folders, strangers, arguments.out.with_suffix(".json"))
    return 0


def _check_scorer(
    trainer: "SyncTrainer",
    folders: "list[PreparedFolder]",
    strangers: "list[PreparedFolder]",
    path: Path,
) -> None:
    """Score the clips held out of ``folders`` and all clips of ``strangers``."""
    from lipstream_models.corpora.grid_corpus import split_rows  # noqa: PLC0415
    from lipstream_models.evaluation.sync_scorer import OwnSyncScorer, check_scorer  # noqa: PLC0415

    scorer = OwnSyncScorer(trainer.sync_network.cpu())
    parts = [(folder, list(split_rows(folder)[1])) for folder in folders]
    parts += [
        (folder, [row for rows in split_rows(folder) for row in rows]) for folder in strangers
    ]
    checks = [check_scorer(scorer, folder, rows) for folder, rows in parts if rows]
    path.write_text(json.dumps([asdict(check) for check in checks], indent=1), "utf-8")
    for check in checks:
        print(
            f"{check.folder}, {check.clips} clips never trained on: {check.correct_share:.0%} of"
            f" the offsets found to a frame, median error {check.error_frames:.2f} frames,"
            f" confidence {check.confidence:.2f} (lowest {check.lowest_confidence:.2f})"
        )


_STEPS = {
    "download": (
        "fetch speakers of the GRID corpus",
        add_download_arguments,
        run_download,
    ),
    "prepare": (
        "cut a corpus of clips into training arrays",
        add_prepare_arguments,
        run_prepare,
    ),
    "texts": (
        "write texts for voices to speak",
        lip_command.add_texts_arguments,
        lip_command.run_texts,
    ),
    "voices": (
        "speak texts with voices whose phones have known times",
        lip_command.add_voices_arguments,
        lip_command.run_voices,
    ),
    "align": (
        "find the times of the phones of recorded English",
        lip_command.add_align_arguments,
        lip_command.run_align,
    ),
    "label": (
        "gather speech with the times of its phones",
        lip_command.add_label_arguments,
        lip_command.run_label,
    ),
    "gains": (
        "measure on film of other speakers how far a model's lips are to be enlarged",
        lip_command.add_gains_arguments,
        lip_command.run_gains,
    ),
    "motion": (
        "measure on film how the lip measures move the face mesh",
        lip_command.add_motion_arguments,
        lip_command.run_motion,
    ),
    "units": (
        "measure on a head with ARKit's units what they do to the lip measures",
        lip_command.add_units_arguments,
        lip_command.run_units,
    ),
    "lips": (
        "train the lip network: sound to lip classes and measures",
        lip_command.add_lips_arguments,
        lip_command.run_lips,
    ),
    "sync-scorer": (
        "train the scorer of sound against lips",
        add_sync_scorer_arguments,
        run_sync_scorer,
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the steps and their options."""
    steps = parser.add_subparsers(dest="step", required=True)
    for name, (purpose, declare, _) in _STEPS.items():
        declare(steps.add_parser(name, help=purpose))


def run(arguments: argparse.Namespace) -> int:
    """Run one step."""
    return _STEPS[arguments.step][2](arguments)
