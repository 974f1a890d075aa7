"""``lipstream evaluate``: measure a trained mouth network on clips held out from training."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lipstream.errors import InputError

if TYPE_CHECKING:
    from lipstream_models.corpora.grid_corpus import PreparedFolder
    from lipstream_models.evaluation.results import EvaluationReport
    from lipstream_models.evaluation.sync_scorer import SyncScorer

_ON_THE_SHEET = 5
"""Clips on the picture."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", type=Path, help="checkpoint of a Wav2Lip, or an exported folder")
    parser.add_argument("--clips", type=Path, required=True, help="folder made by 'train prepare'")
    parser.add_argument(
        "--all", action="store_true", help="every clip, for speakers never trained on"
    )
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only N clips")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="picture: truth, network")
    scorer = parser.add_mutually_exclusive_group()
    scorer.add_argument(
        "--scorer", type=Path, metavar="FILE", help="sync scorer, else the embedded"
    )
    scorer.add_argument("--no-scorer", action="store_true", help="do not score sync")
    scorer.add_argument(
        "--syncnet", type=Path, metavar="FILE", help="score by the published SyncNet_color instead"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and print the medians."""
    import cv2  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from lipstream.face.landmarks import FaceMesh  # noqa: PLC0415
    from lipstream_models.corpora.grid_corpus import PreparedFolder  # noqa: PLC0415
    from lipstream_models.evaluation.evaluate import Evaluation, make_sheet  # noqa: PLC0415
    from lipstream_models.evaluation.renderers import open_renderer  # noqa: PLC0415
    from lipstream_models.evaluation.results import summarise  # noqa: PLC0415

    _check_sheet(arguments.sheet)
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    folder = PreparedFolder(arguments.clips)
    rows = choose_rows(folder, every=arguments.all, limit=arguments.limit)
    mesh = FaceMesh.open(threads=arguments.threads)
    evaluation = Evaluation(open_renderer(arguments.model), folder, mesh, _open_scorer(arguments))
    report = summarise(
        str(arguments.model),
        str(arguments.clips),
        [evaluation.clip(row) for row in rows],
        [evaluation.still(row) for row in rows],
    )
    if arguments.sheet:
        sheet_rows = rows[:: -(-len(rows) // _ON_THE_SHEET)]
        cv2.imwrite(str(arguments.sheet), make_sheet(evaluation, sheet_rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(report), indent=1), "utf-8")
    mesh.close()
    _print(report)
    return 0


def _open_scorer(arguments: argparse.Namespace) -> "SyncScorer | None":
    """Open the sync scorer asked for; the embedded one is left out where there is none."""
    from lipstream_models.evaluation import sync_scorer  # noqa: PLC0415
    from lipstream_models.networks.sync_networks import load_syncnet  # noqa: PLC0415

    if arguments.syncnet:
        return sync_scorer.SyncNetScorer(load_syncnet(arguments.syncnet))
    if arguments.scorer:
        return sync_scorer.OwnSyncScorer(sync_scorer.load_sync_network(arguments.scorer))
    if arguments.no_scorer or not sync_scorer.EMBEDDED.exists():
        return None
    return sync_scorer.OwnSyncScorer(sync_scorer.load_sync_network())


def choose_rows(folder: "PreparedFolder", *, every: bool, limit: int) -> Sequence[int]:
    """Return the rows to measure, spread over the folder. Raises InputError when there are none."""
    from lipstream_models.corpora.grid_corpus import split_rows  # noqa: PLC0415

    trained_on, held_out = split_rows(folder)
    rows = sorted(int(row) for row in ([*trained_on, *held_out] if every else held_out))
    if not rows:
        raise InputError(f"{folder.folder} holds out no clips: use --all for other speakers")
    return rows[:: -(-len(rows) // limit)] if limit else rows


def _check_sheet(path: Path | None) -> None:
    if path and (path.suffix not in (".png", ".jpg") or not path.parent.is_dir()):
        raise InputError(f"--sheet {path}: name a .png or .jpg in a folder that exists")


def _print(report: "EvaluationReport") -> None:
    print(f"{len(report.clips)} clips of {report.clips_from}")
    print(f"{'':32} {'median':>9} {'lowest':>9} {'highest':>9}")
    for name, middle in report.summary.items():
        print(f"{name:32} {middle.median:9.3f} {middle.lowest:9.3f} {middle.highest:9.3f}")
