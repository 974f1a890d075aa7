"""``lipstream train``: prepare data, train the mouth network, export it."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lipstream_models.dataset import Source
    from lipstream_models.training import Trainer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the steps and their options."""
    steps = parser.add_subparsers(dest="step", required=True)
    _add_prepare(steps.add_parser("prepare", help="cut a corpus of clips into training arrays"))
    _add_mouth(steps.add_parser("mouth", help="train the mouth network"))


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--grid", type=Path, required=True, help="folder with one speaker's clips")
    parser.add_argument("--alignments", type=Path, help="table of word times (clip, start_s, ...)")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write; continued if there"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")


def _add_mouth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=Path, required=True, help="folder made by 'prepare'")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument(
        "--library", type=Path, help="folder of pictured mouth shapes of one face, to learn it too"
    )
    parser.add_argument(
        "--utterances", type=int, default=400, help="made-up utterances for the library's face"
    )
    parser.add_argument(
        "--shares",
        type=float,
        nargs=3,
        default=(0.45, 0.25, 0.3),
        metavar=("CLIPS", "DRIVEN", "SPOKEN"),
        help="with --library, shares of: clips, its face driven by them, its face speaking",
    )
    parser.add_argument(
        "--gain", type=float, default=1.0, help="magnify the clips' lips on the library's face"
    )
    parser.add_argument("--samples", type=int, default=240_000, help="examples to see in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--fp32", action="store_true", help="no bfloat16")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--save-every", type=int, default=500, metavar="STEPS")
    parser.add_argument("--fresh", action="store_true", help="start anew; else --out is continued")


def run(arguments: argparse.Namespace) -> int:
    """Run one step."""
    steps = {"prepare": _prepare, "mouth": _mouth}
    return steps[arguments.step](arguments)


def _prepare(arguments: argparse.Namespace) -> int:
    from lipstream_models.grid import prepare  # noqa: PLC0415

    for progress in prepare(
        arguments.grid, arguments.out, alignments=arguments.alignments, jobs=arguments.jobs
    ):
        line = f"{progress.done} of {progress.total} clips, {progress.faceless} without a face"
        sys.stderr.write(f"\r{line}")
    sys.stderr.write("\n")
    return 0


def _mouth(arguments: argparse.Namespace) -> int:
    import torch  # noqa: PLC0415

    from lipstream_models.training import Trainer, TrainOptions  # noqa: PLC0415

    torch.set_num_threads(arguments.threads)
    options = TrainOptions(
        samples=arguments.samples,
        batch=arguments.batch,
        seed=arguments.seed,
        device=arguments.device,
        bf16=not arguments.fp32,
    )
    trainer = Trainer(options)
    if arguments.out.exists() and not arguments.fresh:
        trainer.resume(arguments.out)
        print(f"continuing {arguments.out} at step {trainer.step} of {options.steps}")
    _train(trainer, arguments)
    trainer.save(arguments.out)
    return 0


def _train(trainer: "Trainer", arguments: argparse.Namespace) -> None:
    source, first, began = _source(arguments), trainer.step, time.monotonic()
    losses: list[float] = []
    for step in trainer.run(source):
        losses.append(step.loss)
        if step.number % 50 == 0:
            pace = (step.number - first) * trainer.options.batch / (time.monotonic() - began)
            print(
                f"step {step.number} of {trainer.options.steps}, loss {np.mean(losses[-200:]):.4f},"
                f" {pace:.0f} examples a second",
                flush=True,
            )
        if step.number % arguments.save_every == 0:
            trainer.save(arguments.out)


def _source(arguments: argparse.Namespace) -> "Source":
    from lipstream_models import library  # noqa: PLC0415
    from lipstream_models.dataset import ClipSource, LibrarySource, MixedSource, split_rows  # noqa: PLC0415
    from lipstream_models.grid import PreparedFolder  # noqa: PLC0415

    folder = PreparedFolder(arguments.clips)
    rows = split_rows(folder)[0]
    clips = ClipSource(folder, rows)
    if arguments.library is None:
        return clips
    face = library.open_library(arguments.library)
    driven = library.filmed_performances(folder, rows, face, arguments.gain)
    spoken = library.spoken_performances(face, arguments.utterances, arguments.seed)
    print(f"library of {len(face.crops)} shapes, {len(spoken)} utterances", flush=True)
    sources: list[Source] = [
        clips,
        *(LibrarySource(face.crops, face.rests, p) for p in (driven, spoken)),
    ]
    return MixedSource(sources, arguments.shares)
