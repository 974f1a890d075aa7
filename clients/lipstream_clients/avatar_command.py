"""``lipstream avatar make``: prepare a face once."""

import argparse
from pathlib import Path

from lipstream.errors import InputError
from lipstream_clients.arguments import add_s3fd_argument, frames_a_second
from lipstream_clients.avatar_making import AvatarSettings, make_avatar

_CODECS = ("jpeg", "raw")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``lipstream avatar`` takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    make = actions.add_parser("make", help="make an avatar of a picture or a film")
    make.add_argument(
        "face",
        type=Path,
        metavar="FACE",
        help="picture, or film of a person who listens, mouth closed",
    )
    make.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.avatar")
    make.add_argument("--name", help="name of the avatar (default: the file's)")
    make.add_argument("--licence", default="unknown", help="licence of the pictures")
    make.add_argument(
        "--size",
        type=int,
        default=512,
        metavar="PX",
        help="longest side, 64 to 2160 (default: 512)",
    )
    make.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        metavar="S",
        help="use at most this much; length of the loop of a picture (default: 5)",
    )
    make.add_argument("--fps", type=frames_a_second, metavar="N", help="default: the film's own")
    make.add_argument(
        "--no-bounce",
        action="store_true",
        help="repeat from the start, not backwards: for films that are seamless already",
    )
    make.add_argument(
        "--codec", choices=_CODECS, default="jpeg", help="jpeg is small, raw opens at once"
    )
    make.add_argument(
        "--still", action="store_true", help="a picture does not blink, breathe and move"
    )
    add_s3fd_argument(make)


def run(arguments: argparse.Namespace) -> int:
    """Make an avatar; returns the exit code."""
    output: Path = arguments.output
    if not 64 <= arguments.size <= 2160:
        raise InputError(f"--size {arguments.size}: give 64 to 2160 pixels")
    if not 0 < arguments.seconds <= 60:
        raise InputError(f"--seconds {arguments.seconds:g}: give more than 0, at most 60")
    if not output.parent.is_dir():
        raise InputError(f"there is no folder {output.parent}: make it first")
    settings = AvatarSettings(
        name=arguments.name or output.stem,
        licence=arguments.licence,
        longest_side=arguments.size,
        seconds=arguments.seconds,
        bounce=not arguments.no_bounce,
        fps=arguments.fps,
        s3fd=arguments.s3fd,
        still=arguments.still,
    )
    avatar = make_avatar(arguments.face, settings)
    avatar.save(output, arguments.codec)
    megabytes = output.stat().st_size / 1e6
    frames = "1 frame" if len(avatar) == 1 else f"{len(avatar)} frames at {float(avatar.fps):g} fps"
    print(f"{output}: {frames}, {avatar.width}x{avatar.height}, {megabytes:.1f} MB")
    return 0
