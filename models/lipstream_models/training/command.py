"""``lipstream train``: from data to weights, step by step."""

import argparse

from lipstream_models.training import (
    corpus_command,
    lip_command,
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
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the steps and their options."""
    steps = parser.add_subparsers(dest="step", required=True)
    for name, (purpose, declare, _) in _STEPS.items():
        declare(steps.add_parser(name, help=purpose))


def run(arguments: argparse.Namespace) -> int:
    """Run one step."""
    return _STEPS[arguments.step][2](arguments)
