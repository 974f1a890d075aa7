"""``lipstream evaluate``: measure a trained mouth network on clips held out from training."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lipstream.errors import InputError

if TYPE_CHECKING:
    from lipstream_models.evaluation import Figures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", type=Path, help="made by 'lipstream train mouth'")
    parser.add_argument("--clips", type=Path, required=True, help="folder made by 'train prepare'")
    parser.add_argument(
        "--all", action="store_true", help="every clip, for speakers never trained on"
    )
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only N clips")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE", help="write a picture: truth, network"
    )


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and print the medians."""
    import cv2  # noqa: PLC0415

    from lipstream.landmarks import FaceMesh  # noqa: PLC0415
    from lipstream_models.dataset import split_rows  # noqa: PLC0415
    from lipstream_models.evaluation import Evaluation, summarise  # noqa: PLC0415
    from lipstream_models.grid import PreparedFolder  # noqa: PLC0415
    from lipstream_models.training import load_mouth  # noqa: PLC0415

    folder = PreparedFolder(arguments.clips)
    trained_on, held_out = split_rows(folder)
    rows = sorted([*trained_on, *held_out]) if arguments.all else list(held_out)
    if not rows:
        raise InputError(f"{arguments.clips} holds out no clips: use --all for other speakers")
    if arguments.limit:
        rows = rows[:: -(-len(rows) // arguments.limit)]
    mesh = FaceMesh.open()
    evaluation = Evaluation(load_mouth(arguments.checkpoint), folder, mesh)
    figures = summarise(
        [evaluation.clip(row) for row in rows], [evaluation.silence(row) for row in rows[:8]]
    )
    if arguments.sheet:
        cv2.imwrite(str(arguments.sheet), evaluation.sheet(rows[:: max(1, len(rows) // 5)][:5]))
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(figures), indent=1), "utf-8")
    mesh.close()
    _print(figures)
    return 0


def _print(figures: "Figures") -> None:
    for name, value in figures.summary.items():
        print(f"{name:28} {value:8.3f}")
    for name, value in asdict(figures.silence).items():
        print(f"{'silence_' + name:28} {value:8.3f}")
