"""``lipstream train sound|mouth|join``: the two stages of the mouth network."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lipstream.errors import InputError
from lipstream_models.networks.mouth_flow import COLUMNS
from lipstream_models.training.dataset import Window
from lipstream_models.training.run_command import add_run_arguments, carry_out, options_of

SETTINGS = {"quality": Window(COLUMNS, -240), "low-delay": Window(COLUMNS, -340)}
"""``quality`` looks 172.5 ms ahead, as Wav2Lip does; ``low-delay`` 72.5 ms."""


if TYPE_CHECKING:
    from lipstream_models.training.dataset import Source, Window


def add_sound_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train sound``."""
    pass

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
    from lipstream_models.training.grid_corpus import PreparedFolder  # noqa: PLC0415
    from lipstream_models.training.music import piece_mels  # noqa: PLC0415

    pass
    from lipstream_models.training.sound import (  # noqa: PLC0415
        SOUND_OPTIONS,
        SoundTrainer,
        VoiceSource,
    )

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


def _pictures(arguments: argparse.Namespace, window: "Window") -> "Source":
    from lipstream_models.training.dataset import ClipSource, MixedSource, PictureSource, split_rows  # noqa: PLC0415
    from lipstream_models.training.grid_corpus import PreparedFolder  # noqa: PLC0415
    from lipstream_models.training.rendered_shapes import open_library  # noqa: PLC0415

    folders = [PreparedFolder(path) for path in arguments.clips]
    faces = [open_library(path) for path in arguments.libraries]
    shares = _shares(arguments.shares, len(folders) + len(faces))
    sources: list[Source] = [ClipSource(f, split_rows(f)[0], window) for f in folders]
    sources += [PictureSource(face.crops, face.points, window) for face in faces]
    return MixedSource(sources, shares)
