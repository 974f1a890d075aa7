"""``lipstream train``: from data to weights, step by step."""

import argparse

from lipstream_models.synthetic.raster import command as heads_command
from lipstream_models.training import (
    corpus_command,
    lip_command,
    mouth_command,
    sync_scorer_command,
)

_STEPS = {
    "download": (
        "fetch speakers of the GRID corpus",
        corpus_command.add_download_arguments,
        corpus_command.run_download,
    ),
    "prepare": (
        "cut a corpus of clips into training arrays",
        corpus_command.add_prepare_arguments,
        corpus_command.run_prepare,
    ),
    "heads": (
        "make clips of synthetic people who speak",
        heads_command.add_arguments,
        heads_command.run,
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
    "lips": (
        "train the lip network: sound to lip classes and measures",
        lip_command.add_lips_arguments,
        lip_command.run_lips,
    ),
    "sync-scorer": (
        "train the scorer of sound against lips",
        sync_scorer_command.add_arguments,
        sync_scorer_command.run,
    ),
    "sound": (
        "train the sound stage: sound to lip measures",
        mouth_command.add_sound_arguments,
        mouth_command.run_sound,
    ),
    "look-ahead": (
        "show how much a longer look-ahead is worth",
        mouth_command.add_look_ahead_arguments,
        mouth_command.run_look_ahead,
    ),
    "mouth": (
        "train the mouth network on a sound stage",
        mouth_command.add_mouth_arguments,
        mouth_command.run_mouth,
    ),
    "join": (
        "put another sound stage before a mouth network",
        mouth_command.add_join_arguments,
        mouth_command.run_join,
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the steps and their options."""
    steps = parser.add_subparsers(dest="step", required=True)
    for name, (told, declare, _) in _STEPS.items():
        declare(steps.add_parser(name, help=told))


def run(arguments: argparse.Namespace) -> int:
    """Run one step."""
    return _STEPS[arguments.step][2](arguments)
