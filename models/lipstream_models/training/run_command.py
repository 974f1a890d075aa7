"""What every training command shares: its options, and a run with a log, a plot and a card.

The card says what the weights are, how they were made and what was measured.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lipstream.errors import InputError
from lipstream_models.corpora.grid_corpus import PreparedFolder, split_rows

_SHOWN = {
    "psnr_db": "PSNR of the lower half, dB",
    "copy_psnr_db": "PSNR of the reference copied, no network, dB",
    "ssim": "SSIM of the lower half",
    "copy_ssim": "SSIM of the reference copied",
    "lmd_percent": "landmark distance of the lips, % of the eye distance",
    "copy_lmd_percent": "landmark distance of the reference's lips",
    "lve_percent": "lip vertex error: the point furthest astray, % of the eye distance",
    "copy_lve_percent": "lip vertex error of the reference's lips",
    "gap_correlation": "lip gap: correlation with the truth",
    "gap_spread": "lip gap: spread over the truth's",
    "gap_offset": "lip gap: frames after the truth",
    "sharpness": "sharpness of the mouth over the reference's",
    "truth_sharpness": "sharpness of the true mouth over the reference's",
    "detail": "variance of the mouth's Laplacian over the reference's",
    "truth_detail": "variance of the true mouth's Laplacian over the reference's",
    "sync_offset": "sync scorer: frames after the sound",
    "sync_confidence": "sync scorer: confidence",
    "truth_sync_offset": "sync scorer on the true film: frames after the sound",
    "truth_sync_confidence": "sync scorer on the true film: confidence",
    "still_gap_correlation": "still picture: correlation of the lip gap",
    "still_gap_spread": "still picture: spread of the lip gap over the truth's",
    "still_silence_variance": "silence: variance of the lip gap over that in speech",
    "still_noise_variance": "room noise: the same",
    "still_music_variance": "music without a voice: the same",
    "still_flicker_levels": "held vowel: change of the mouth a frame, levels of 255",
    "still_truth_flicker_levels": "calm film: change of the mouth a frame, levels of 255",
}
"""Figures of an evaluation that a card shows, and in which words."""


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Clips that were trained on."""

    folder: str
    """Name, without the way to it."""
    trained_on: int
    held_out: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """How weights were made."""

    title: str
    about: str
    """A paragraph: what goes in, what comes out, what it is for."""
    command: str
    """What to type to make it again."""
    seed: int
    commit: str
    """Of the code; see ``current_commit``."""
    clips: Sequence[DataFolder]
    licence: str
    options: Mapping[str, object] = field(default_factory=dict)
    """Settings of the run, as printed."""


def describe(path: Path) -> DataFolder:
    """Count the clips of a prepared folder. Raises InputError."""
    trained_on, held_out = split_rows(PreparedFolder(path))
    return DataFolder(path.name, len(trained_on), len(held_out))


def current_commit(folder: Path) -> str:
    """Return the commit of the code in a folder, "+" after it when it was changed since.

    "unknown" outside a checkout, or without git.
    """
    say = _git(folder, "rev-parse", "HEAD")
    if not say:
        return "unknown"
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return say + ("+" if changed else "")


def _git(folder: Path, *words: str) -> str:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.stdout.strip()


def write_card(path: Path, recipe: Recipe, evaluations: Sequence[Path] = ()) -> None:
    """Write a card in Markdown; ``evaluations`` are files of 'lipstream evaluate --json'.

    Raises InputError for a file that is none.
    """
    lines = [f"# {recipe.title}", "", recipe.about, "", f"Licence: {recipe.licence}.", ""]
    lines += ["## Recipe", "", "```", recipe.command, "```", ""]
    lines += [f"Seed {recipe.seed}, code of commit `{recipe.commit}`.", ""]
    lines += ["| clips from | trained on | held out |", "|---|---|---|"]
    lines += [f"| {each.folder} | {each.trained_on} | {each.held_out} |" for each in recipe.clips]
    if recipe.options:
        lines += ["", "| option | value |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in recipe.options.items()]
    if evaluations:
        lines += ["", "## Figures", "", *_figures([_read(each) for each in evaluations])]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _figures(reports: Sequence[dict[str, Any]]) -> list[str]:
    """Return a table: a row for each figure, a column for each evaluation."""
    names = [f"{Path(each['clips_from']).name}, {len(each['clips'])} clips" for each in reports]
    rows = [
        f"| median (lowest to highest) | {' | '.join(names)} |",
        "|---" * (1 + len(reports)) + "|",
    ]
    for figure, words in _SHOWN.items():
        cells = [_cell(each["summary"].get(figure)) for each in reports]
        if any(cells):
            rows.append(f"| {words} | {' | '.join(cells)} |")
    return rows


def _cell(middle: dict[str, float] | None) -> str:
    if middle is None:
        return ""
    median, lowest, highest = (middle[name] for name in ("median", "lowest", "highest"))
    return f"{_short(median)} ({_short(lowest)} to {_short(highest)})"


def _short(value: float) -> str:
    text = f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else (
        f"{value:.3f}"
    )  # fmt: skip
    return "0" if float(text) == 0 else text


def _read(path: Path) -> dict[str, Any]:
    try:
        reports = json.loads(path.read_text("utf-8"))
        if {"clips_from", "clips", "summary"} <= set(reports):
            return dict(reports)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    raise InputError(f"{path} is no evaluation: write one with 'lipstream evaluate --json'")


if TYPE_CHECKING:
    pass
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
    from lipstream_models.training.trainer import TrainingLog, plot  # noqa: PLC0415

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
    pass

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
