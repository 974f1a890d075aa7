"""``lipstream train sync-scorer``: train the sync scorer on prepared clips."""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lipstream_models.training.run_command import add_run_arguments, carry_out, options_of

if TYPE_CHECKING:
    from lipstream_models.corpora.grid_corpus import PreparedFolder
    from lipstream_models.training.sync_scorer import SyncTrainer


def add_arguments(parser: argparse.ArgumentParser) -> None:
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


def run(arguments: argparse.Namespace) -> int:
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
    _check(trainer, folders, strangers, arguments.out.with_suffix(".json"))
    return 0


def _check(
    trainer: "SyncTrainer",
    folders: "list[PreparedFolder]",
    strangers: "list[PreparedFolder]",
    path: Path,
) -> None:
    """Score the clips held out of ``folders`` and all clips of ``strangers``."""
    from lipstream_models.corpora.grid_corpus import split_rows  # noqa: PLC0415
    from lipstream_models.evaluation.sync_scorer import (  # noqa: PLC0415
        OwnSyncScorer,
        check_scorer,
    )

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
