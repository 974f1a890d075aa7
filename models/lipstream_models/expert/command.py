"""``lipstream train sync-expert``: train the sync expert on prepared clips."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lipstream_models.expert.training import ExpertTrainer, MomentSource
    from lipstream_models.grid import PreparedFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--clips", type=Path, nargs="+", required=True, help="folders made by 'train prepare'"
    )
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--weights", type=Path, help="at the end, write the weights alone here too")
    parser.add_argument(
        "--check",
        type=Path,
        nargs="*",
        default=[],
        metavar="FOLDER",
        help="at the end, judge all clips of these folders too: speakers never trained on",
    )
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=8, help="clips in a step (default 8)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--fp32", action="store_true", help="no bfloat16")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--save-every", type=int, default=250, metavar="STEPS")
    parser.add_argument("--fresh", action="store_true", help="start anew; else --out is continued")


def run(arguments: argparse.Namespace) -> int:
    """Train, with a journal and a plot beside the checkpoint, and check what was learned."""
    import cv2  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from lipstream_models.dataset import split_rows  # noqa: PLC0415
    from lipstream_models.expert.training import (  # noqa: PLC0415
        ExpertOptions,
        ExpertTrainer,
        MomentSource,
    )
    from lipstream_models.grid import PreparedFolder  # noqa: PLC0415

    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    folders, strangers = (
        [PreparedFolder(path) for path in paths] for paths in (arguments.clips, arguments.check)
    )
    source = MomentSource([(folder, split_rows(folder)[0]) for folder in folders])
    options = ExpertOptions(
        steps=arguments.steps,
        clips=arguments.batch,
        seed=arguments.seed,
        device=arguments.device,
        bf16=not arguments.fp32,
    )
    trainer = ExpertTrainer(options)
    if arguments.out.exists() and not arguments.fresh:
        trainer.resume(arguments.out)
        print(f"continuing {arguments.out} at step {trainer.step} of {options.steps}")
    _train(trainer, source, arguments)
    if arguments.weights:
        trainer.export(arguments.weights)
    _check(trainer, folders, strangers, arguments.out.with_suffix(".json"))
    return 0


def _train(trainer: "ExpertTrainer", source: "MomentSource", arguments: argparse.Namespace) -> None:
    from lipstream_models.journal import Journal, plot  # noqa: PLC0415

    out: Path = arguments.out
    path = out.with_suffix(".jsonl")
    journal = Journal(path, trainer.options.steps, first=trainer.step)
    for loss in trainer.run(source):
        told = journal.note(trainer.step, trainer.options.samples, {"loss": loss})
        if told:
            print(told, flush=True)
        if trainer.step % arguments.save_every == 0:
            trainer.save(out)
    trainer.save(out)
    if path.stat().st_size:
        plot(path, out.with_suffix(".png"))


def _check(
    trainer: "ExpertTrainer",
    folders: "list[PreparedFolder]",
    strangers: "list[PreparedFolder]",
    path: Path,
) -> None:
    """Judge the clips held out of ``folders`` and all clips of ``strangers``."""
    from lipstream_models.dataset import split_rows  # noqa: PLC0415
    from lipstream_models.expert.check import check_expert  # noqa: PLC0415
    from lipstream_models.expert.judges import ExpertJudge  # noqa: PLC0415

    judge = ExpertJudge(trainer.expert.cpu())
    parts = [(folder, list(split_rows(folder)[1])) for folder in folders]
    parts += [
        (folder, [row for rows in split_rows(folder) for row in rows]) for folder in strangers
    ]
    checks = [check_expert(judge, folder, rows) for folder, rows in parts if rows]
    path.write_text(json.dumps([asdict(check) for check in checks], indent=1), "utf-8")
    for check in checks:
        print(
            f"{check.folder}, {check.clips} clips never trained on: {check.found:.0%} of the"
            f" offsets found to a frame, median error {check.error_frames:.2f} frames, confidence"
            f" {check.confidence:.2f} (lowest {check.lowest_confidence:.2f})"
        )
