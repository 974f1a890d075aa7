"""``lipstream train sound | mouth | join | look-ahead``: the two stages of the mouth network."""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lipstream.errors import InputError
from lipstream.types import Float32
from lipstream_models.corpora.grid_corpus import Window
from lipstream_models.networks.mouth_flow import COLUMNS
from lipstream_models.training.run_command import add_run_arguments, carry_out, options_of

SETTINGS = {"quality": Window(COLUMNS, -240), "low-delay": Window(COLUMNS, -340)}
"""``quality`` looks 172.5 ms ahead, as Wav2Lip does; ``low-delay`` 72.5 ms."""


if TYPE_CHECKING:
    from lipstream_models.corpora.grid_corpus import Window
    from lipstream_models.training.mouth_examples import ExampleSource


def add_sound_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train sound``."""

    _add_clips(parser, samples=600_000)
    parser.add_argument(
        "--setting",
        choices=tuple(SETTINGS),
        default="quality",
        help="how far the sound stage hears ahead (default quality)",
    )
    parser.add_argument(
        "--pieces", type=int, default=200, help="made-up music to keep still at (default 200)"
    )


def add_mouth_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train mouth``."""
    _add_clips(parser, samples=320_000)
    parser.add_argument(
        "--sound",
        type=Path,
        help="sound stage to follow in half of the examples (default: true lip shapes in all)",
    )
    parser.add_argument(
        "--libraries",
        type=Path,
        nargs="*",
        default=[],
        help="folders of pictured mouth shapes of one face each, to learn them too",
    )
    parser.add_argument("--begin", type=Path, help="checkpoint whose weights to begin with")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="at its highest")


def add_join_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train join``."""
    parser.add_argument("--mouth", type=Path, required=True, help="checkpoint of 'train mouth'")
    parser.add_argument("--sound", type=Path, required=True, help="checkpoint of 'train sound'")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument(
        "--gain", type=float, default=1.0, help="magnify the lip shapes heard (default 1)"
    )


def _add_clips(parser: argparse.ArgumentParser, samples: int) -> None:
    add_run_arguments(parser)
    parser.add_argument(
        "--shares", type=float, nargs="+", help="share of every folder, in order (default: alike)"
    )
    parser.add_argument("--samples", type=int, default=samples, help="examples to see in all")


def run_sound(arguments: argparse.Namespace) -> int:
    """Train the sound stage."""
    from lipstream_models.corpora.grid_corpus import PreparedFolder  # noqa: PLC0415
    from lipstream_models.corpora.music import piece_mels  # noqa: PLC0415
    from lipstream_models.training.sound import SOUND_OPTIONS, SoundTrainer, VoiceSource  # noqa: PLC0415

    options = replace(options_of(arguments, SOUND_OPTIONS), samples=arguments.samples)
    window = SETTINGS[arguments.setting]
    folders = [PreparedFolder(path) for path in arguments.clips]
    shares = _shares(arguments.shares, len(folders))
    music = piece_mels(max(1, arguments.pieces), arguments.seed)
    carry_out(SoundTrainer(VoiceSource(folders, shares, music, window), window, options), arguments)
    return 0


def run_mouth(arguments: argparse.Namespace) -> int:
    """Train the mouth network on a sound stage."""
    from lipstream_models.training.mouth import LossWeights, MouthTrainer, load_mouth  # noqa: PLC0415
    from lipstream_models.training.sound import HeardLips, load_sound  # noqa: PLC0415
    from lipstream_models.training.trainer import TrainOptions  # noqa: PLC0415

    options = replace(
        options_of(arguments, TrainOptions()),
        samples=arguments.samples,
        learning_rate=arguments.learning_rate,
    )
    heard = load_sound(arguments.sound) if arguments.sound else HeardLips()
    weights = LossWeights() if arguments.sound else LossWeights(heard_share=0.0)
    source = _pictures(arguments, heard.window)
    trainer = MouthTrainer(source, heard, options, weights)
    if arguments.begin:
        trainer.begin_with(load_mouth(arguments.begin))
    carry_out(trainer, arguments)
    return 0


def run_join(arguments: argparse.Namespace) -> int:
    """Put another sound stage before a mouth: the pictures do not depend on how far it hears."""
    from lipstream_models.training.mouth import join, load_mouth  # noqa: PLC0415
    from lipstream_models.training.sound import load_sound  # noqa: PLC0415

    if not 0.0 < arguments.gain <= 3.0:
        raise InputError(f"--gain {arguments.gain}: give a factor above 0 and at most 3")
    mouth, heard = load_mouth(arguments.mouth), load_sound(arguments.sound)
    join(mouth, heard, arguments.gain, arguments.out)
    return 0


def _shares(given: list[float] | None, count: int) -> list[float]:
    shares = given or [1.0] * count
    if len(shares) != count or min(shares) < 0 or sum(shares) <= 0:
        raise InputError(
            f"--shares {' '.join(map(str, shares))}: give {count} numbers, one a folder, not"
            " negative and not all 0"
        )
    return shares


def _pictures(arguments: argparse.Namespace, window: "Window") -> "ExampleSource":
    from lipstream_models.corpora.grid_corpus import PreparedFolder, split_rows  # noqa: PLC0415
    from lipstream_models.training.mouth_examples import (  # noqa: PLC0415
        ClipSource,
        MixedSource,
        PictureSource,
        open_library,
    )

    folders = [PreparedFolder(path) for path in arguments.clips]
    faces = [open_library(path) for path in arguments.libraries]
    shares = _shares(arguments.shares, len(folders) + len(faces))
    sources: list[ExampleSource] = [ClipSource(f, split_rows(f)[0], window) for f in folders]
    sources += [PictureSource(face.crops, face.points, window) for face in faces]
    return MixedSource(sources, shares)


if TYPE_CHECKING:
    from lipstream_models.corpora.grid_corpus import PreparedFolder
    from lipstream_models.training.sound import HeardLips

STARTS_MS = (-390, -365, -340, -315, -290, -265, -240, -200)
"""Starts of the windows tried; each ends 387.5 ms later, and half an STFT window follows."""
_MEASURED = slice(3, 70)
"""Frames whose windows lie in the clip's sound."""
_PIECES = 40
"""Pieces of music that every sound stage learns to keep still at."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """How well a sound stage with one look-ahead hears the lips of one folder."""

    folder: str
    look_ahead_ms: float
    seed: int
    gap_correlation: float
    """Lip gap heard against lip gap seen, median over clips."""
    mean_correlation: float
    """The same, mean over all measures of the lips."""
    gap_spread: float
    """Standard deviation of the lip gap heard over that seen, median over clips."""


def add_look_ahead_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--clips", type=Path, nargs="+", required=True, help="folders to learn from"
    )
    parser.add_argument(
        "--judge", type=Path, nargs="+", required=True, help="folders to judge all clips of"
    )
    parser.add_argument("--out", type=Path, required=True, help=".json to write; a .png beside it")
    parser.add_argument("--samples", type=int, default=80_000, help="examples for each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, default=1)


def run_look_ahead(arguments: argparse.Namespace) -> int:
    """Train and judge one sound stage for every look-ahead and seed; keep all figures."""
    import torch  # noqa: PLC0415

    from lipstream_models.corpora.grid_corpus import PreparedFolder  # noqa: PLC0415
    from lipstream_models.corpora.music import piece_mels  # noqa: PLC0415

    torch.set_num_threads(arguments.threads)
    folders = [PreparedFolder(path) for path in arguments.clips]
    judges = [PreparedFolder(path) for path in arguments.judge]
    figures: list[Hearing] = []
    for seed in arguments.seeds:
        music = piece_mels(_PIECES, seed)
        for start_ms in STARTS_MS:
            heard = _trained(folders, music, start_ms, seed, arguments.samples)
            found = [_judged(heard, folders[0], seed, held_out=True)]
            found += [_judged(heard, judge, seed, held_out=False) for judge in judges]
            figures += found
            for one in found:
                print(
                    f"{one.look_ahead_ms:.1f} ms ahead, {one.folder}: lip gap"
                    f" {one.gap_correlation:.3f}, all measures {one.mean_correlation:.3f}",
                    flush=True,
                )
            arguments.out.write_text(json.dumps([asdict(one) for one in figures], indent=1))
    _plot(figures, arguments.out.with_suffix(".png"))
    return 0


def _trained(
    folders: "list[PreparedFolder]", music: Float32, start_ms: int, seed: int, samples: int
) -> "HeardLips":
    from lipstream_models.corpora.grid_corpus import Window  # noqa: PLC0415
    from lipstream_models.networks.mouth_flow import COLUMNS  # noqa: PLC0415
    from lipstream_models.training.sound import SOUND_OPTIONS, SoundTrainer, VoiceSource  # noqa: PLC0415

    window = Window(COLUMNS, start_ms)
    source = VoiceSource(folders, [1.0] * len(folders), music, window)
    trainer = SoundTrainer(source, window, replace(SOUND_OPTIONS, samples=samples, seed=seed))
    for _ in trainer.run():
        pass
    return trainer.heard


def _judged(heard: "HeardLips", folder: "PreparedFolder", seed: int, *, held_out: bool) -> Hearing:
    from lipstream_models.corpora.grid_corpus import shapes_of, split_rows  # noqa: PLC0415
    from lipstream_models.evaluation.metrics import correlation  # noqa: PLC0415
    from lipstream_models.evaluation.renderers import make_timing  # noqa: PLC0415
    from lipstream_models.training.sound import hear_clips  # noqa: PLC0415

    trained_on, rows = split_rows(folder)
    if not held_out:
        rows = np.union1d(trained_on, rows)
    seen = shapes_of(folder, rows)[:, _MEASURED]
    told = hear_clips(heard, folder, [int(row) for row in rows])[:, _MEASURED]
    per_measure = np.array(
        [
            [correlation(a[:, k], b[:, k]) for k in range(seen.shape[2])]
            for a, b in zip(told, seen, strict=True)
        ]
    )
    spread = told[..., 0].std(1) / seen[..., 0].std(1)
    window = heard.window
    return Hearing(
        folder.folder.name,
        make_timing(window.columns, window.start_ms).look_ahead_ms,
        seed,
        float(np.median(per_measure[:, 0])),
        float(np.median(per_measure, 0).mean()),
        float(np.median(spread)),
    )


def _plot(figures: list[Hearing], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name in dict.fromkeys(one.folder for one in figures):
        ahead = sorted({one.look_ahead_ms for one in figures})
        mean = [
            np.mean(
                [o.gap_correlation for o in figures if (o.folder, o.look_ahead_ms) == (name, at)]
            )
            for at in ahead
        ]
        axes.plot(ahead, mean, marker="o", label=name)
    axes.set(xlabel="look-ahead, ms (with half an STFT window)", ylabel="lip gap correlation")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100)
