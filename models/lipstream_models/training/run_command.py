"""What every training command shares: its options, and a run with a log, a plot and a card."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lipstream_models.training.model_card import DataFolder
    from lipstream_models.training.trainer import Trainer, TrainOptions


_CLIPS = "folders made by 'prepare' or 'heads'"


def add_run_arguments(
    parser: argparse.ArgumentParser, save_every: int = 500, *, clips: str = _CLIPS
) -> None:
    """Declare what every run takes; ``clips`` says what its data are."""
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help=clips)
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--fp32", action="store_true", help="no bfloat16")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--save-every", type=int, default=save_every, metavar="STEPS")
    parser.add_argument("--fresh", action="store_true", help="start anew; else --out is continued")


def options_of(arguments: argparse.Namespace, plain: "TrainOptions") -> "TrainOptions":
    """Return a run's own options with what was asked for; sets the threads of torch and OpenCV."""
    import cv2  # noqa: PLC0415
    import torch  # noqa: PLC0415

    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    bf16 = plain.bf16 and not arguments.fp32
    return replace(plain, seed=arguments.seed, device=arguments.device, bf16=bf16)


def carry_out(
    trainer: "Trainer[Any]",
    arguments: argparse.Namespace,
    folders: "Sequence[DataFolder] | None" = None,
) -> None:
    """Train to the end or go on where ``--out`` stops; leave a log, a plot and a card beside.

    ``folders`` says what was trained on, where ``--clips`` are no prepared folders.
    """
    from lipstream_models.training.training_log import TrainingLog, plot  # noqa: PLC0415

    out, steps = arguments.out, trainer.options.steps
    if out.exists() and not arguments.fresh:
        trainer.resume(out)
        print(f"continuing {out} at step {trainer.step} of {steps}")
    log_path = out.with_suffix(".jsonl")
    log = TrainingLog(log_path, steps, first=trainer.step)
    for step in trainer.run():
        report = log.note(step.number, trainer.options.batch, step.losses)
        if report:
            print(report, flush=True)
        if step.number % arguments.save_every == 0:
            trainer.save(out)
    trainer.save(out)
    if log_path.stat().st_size:
        plot(log_path, out.with_suffix(".png"))
    _describe(trainer, arguments, folders)


def _describe(
    trainer: "Trainer[Any]",
    arguments: argparse.Namespace,
    folders: "Sequence[DataFolder] | None",
) -> None:
    """Write a card beside the checkpoint: what was trained, on what, by which command."""
    from lipstream_models.training.model_card import Recipe, current_commit, describe, write_card  # noqa: PLC0415

    source = trainer.about["source"]
    recipe = Recipe(
        title=f"{trainer.about['network']} after {trainer.step} steps",
        about=f"{source[:1].upper()}{source[1:]}.",
        command=shlex.join(["lipstream", *sys.argv[1:]]),
        seed=arguments.seed,
        commit=current_commit(Path(__file__).parent),
        clips=list(folders or map(describe, arguments.clips)),
        licence=trainer.about.get("licence", "as its data"),
        options=asdict(trainer.options),
    )
    write_card(arguments.out.with_suffix(".md"), recipe)
