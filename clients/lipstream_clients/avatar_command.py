"""``lipstream avatar make``: prepare a face once, or make one up; ``words`` to describe it by."""

import argparse
from pathlib import Path

from lipstream import Avatar
from lipstream.avatar.making import AvatarSettings, make_avatar
from lipstream.cli import add_s3fd_argument, frames_a_second
from lipstream.errors import InputError
from lipstream_models.synthetic.describe.rendering import Rendering, described_avatar
from lipstream_models.synthetic.describe.vocabulary import word_rows

_CODECS = ("jpeg", "raw")


_SIZE, _SECONDS = 512, 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``lipstream avatar`` takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("words", help="list the words that --describe knows")
    make = actions.add_parser("make", help="make an avatar of a picture, a film or a description")
    make.add_argument(
        "face",
        type=Path,
        nargs="?",
        metavar="FACE",
        help="picture, or film of a person who listens, mouth closed; of one who speaks the longest"
        " rest is shown",
    )
    make.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.avatar")
    make.add_argument("--name", help="name of the avatar (default: the file's)")
    _add_described(make)
    _add_filmed(make)
    make.add_argument(
        "--codec", choices=_CODECS, default="jpeg", help="jpeg is small, raw opens at once"
    )
    make.add_argument(
        "--still", action="store_true", help="one frame that does not blink, breathe and move"
    )


def _add_described(make: argparse.ArgumentParser) -> None:
    make.add_argument(
        "--describe",
        metavar="TEXT",
        help="make up a person instead of FACE: 'an old woman with a headscarf' (see 'words')",
    )
    make.add_argument(
        "--seed", type=int, metavar="N", help="which of the people who fit (default: 0)"
    )
    make.add_argument(
        "--samples", type=int, metavar="N", help="of light a pixel, for --describe (default: 8)"
    )


def _add_filmed(make: argparse.ArgumentParser) -> None:
    make.add_argument("--licence", help="licence of the pictures (described people are CC0)")
    make.add_argument(
        "--size",
        type=int,
        metavar="PX",
        help=f"longest side, 64 to 2160 (default: {_SIZE} or less)",
    )
    make.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help=f"use at most this much; length of the loop of a picture (default: {_SECONDS:g})",
    )
    make.add_argument(
        "--open-mouth",
        type=Path,
        metavar="PICTURE",
        help="picture or film of the same person, the mouth wide and open: whose teeth are shown"
        " (default: those that FACE shows)",
    )
    make.add_argument("--fps", type=frames_a_second, metavar="N", help="default: the film's own")
    make.add_argument(
        "--no-bounce",
        action="store_true",
        help="repeat from the start, not backwards: for films that are seamless already",
    )
    add_s3fd_argument(make)


def run(arguments: argparse.Namespace) -> int:
    """Make an avatar or list words; returns the exit code."""
    if arguments.action == "words":
        return _list_words()
    output: Path = arguments.output
    if (arguments.face is None) == (arguments.describe is None):
        raise InputError("give a FACE, or --describe TEXT instead of it")
    if not output.parent.is_dir():
        raise InputError(f"there is no folder {output.parent}: make it first")
    avatar = _filmed(arguments) if arguments.describe is None else _described(arguments)
    avatar.save(output, arguments.codec)
    megabytes = output.stat().st_size / 1e6
    frames = "1 frame" if len(avatar) == 1 else f"{len(avatar)} frames at {float(avatar.fps):g} fps"
    print(f"{output}: {frames}, {avatar.width}x{avatar.height}, {megabytes:.1f} MB")
    return 0


def _filmed(arguments: argparse.Namespace) -> Avatar:
    _refuse(arguments, ("seed", "samples"), "goes with --describe")
    size = _SIZE if arguments.size is None else arguments.size
    seconds = _SECONDS if arguments.seconds is None else arguments.seconds
    if not 64 <= size <= 2160:
        raise InputError(f"--size {size}: give 64 to 2160 pixels")
    if not 0 < seconds <= 60:
        raise InputError(f"--seconds {seconds:g}: give more than 0, at most 60")
    settings = AvatarSettings(
        name=arguments.name or arguments.output.stem,
        licence=arguments.licence or "unknown",
        longest_side=size,
        enlarge=arguments.size is not None,
        seconds=seconds,
        bounce=not arguments.no_bounce,
        fps=arguments.fps,
        s3fd=arguments.s3fd,
        still=arguments.still,
        open_mouth=arguments.open_mouth,
    )
    return make_avatar(arguments.face, settings)


def _described(arguments: argparse.Namespace) -> Avatar:
    unfit = ("licence", "size", "seconds", "fps", "no_bounce", "s3fd", "open_mouth")
    _refuse(arguments, unfit, "does not go with --describe")
    samples = 8 if arguments.samples is None else arguments.samples
    seed = arguments.seed or 0
    if not 1 <= samples <= 1024:
        raise InputError(f"--samples {samples}: give 1 to 1024")
    if seed < 0:
        raise InputError(f"--seed {seed}: give 0 or more")
    rendering = Rendering(seed, samples, arguments.still)
    return described_avatar(arguments.describe, rendering, arguments.name or arguments.output.stem)


def _refuse(arguments: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    """Raise InputError when one of the options was given."""
    for name in names:
        if getattr(arguments, name) not in (None, False):
            raise InputError(f"--{name.replace('_', '-')} {why}")


def _list_words() -> int:
    for row in word_rows():
        says = f" ({row.says})" if row.says else ""
        print(f"{row.topic}{says}: {'; '.join(', '.join(same) for same in row.words)}")
    return 0
