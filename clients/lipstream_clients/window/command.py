"""``lipstream window``: speak, and a face in a window says it."""

import argparse
import contextlib
import logging
from contextlib import ExitStack
from pathlib import Path

from lipstream.avatar.making import open_avatar
from lipstream.cli import (
    add_avatar_argument,
    add_engine_arguments,
    add_text_arguments,
    add_voice_arguments,
    settings_of,
    text_of,
)
from lipstream.errors import InputError
from lipstream.inference.manifest import LIVE
from lipstream.inference.model import MouthModel
from lipstream.live.conversation import Conversation, ConversationSettings
from lipstream.live.worker import Worker
from lipstream.media import SoundFile
from lipstream.speech import open_voice
from lipstream_clients.window.devices import (
    FileSource,
    Loudspeaker,
    Microphone,
    PygameScreen,
    SilentSink,
    TextSource,
    open_portaudio,
)
from lipstream_clients.window.playback import (
    LEAD_MS,
    Playback,
    PlaybackDevices,
    PlaybackStats,
)

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``lipstream window`` takes."""
    add_avatar_argument(parser, "an avatar pack, picture or short film", metavar="FACE")
    add_engine_arguments(parser, LIVE)
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="speak a sound file instead of the microphone"
    )
    add_text_arguments(parser, "the microphone")
    parser.add_argument("--device", metavar="NAME", help="microphone: its number or part of name")
    parser.add_argument("--output-device", metavar="NAME", help="loudspeaker: the same")
    parser.add_argument("--no-sound", action="store_true", help="do not play the sound")
    parser.add_argument(
        "--delay-ms",
        type=float,
        metavar="MS",
        help="from sound in to sound out, at least (default: as little as the machine allows)",
    )
    parser.add_argument("--list-devices", action="store_true", help="list sound devices and leave")
    add_voice_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Open the window and stay until it closes or the file ends; returns the exit code."""
    if arguments.list_devices:
        print(str(open_portaudio().query_devices()) or "no sound devices found")
        return 0
    with contextlib.suppress(KeyboardInterrupt):
        stats = _play(arguments)
        print(
            f"{stats.shown} pictures shown, {stats.skipped} came too late,"
            f" delay {stats.delay_ms:.0f} ms"
        )
    return 0


def _play(arguments: argparse.Namespace) -> PlaybackStats:
    delay_ms: float | None = arguments.delay_ms
    if delay_ms is not None and not 0 <= delay_ms <= 4000:
        raise InputError(f"--delay-ms {delay_ms:g}: give 0 to 4000")
    with ExitStack() as stack:
        source = _source(arguments)
        stack.push(source)  # whatever fails before it is entered
        speaker = _speaker(arguments, source.rate)
        stack.push(speaker)
        avatar = open_avatar(arguments.avatar)
        model = MouthModel.open(
            arguments.model or Path(LIVE), backend=arguments.backend, precision=arguments.precision
        )
        worker = stack.enter_context(Worker(model, capacity=1))
        worker.prepare(avatar)
        screen = stack.enter_context(PygameScreen(avatar.width, avatar.height))
        screen.show(avatar.frames[0])
        settings = ConversationSettings(source.rate, lead_ms=LEAD_MS, least_delay_ms=delay_ms or 0)
        conversation = Conversation(worker, avatar, settings, clock=speaker.taken)
        stack.callback(conversation.close)
        stack.enter_context(speaker)
        stack.enter_context(source)
        return Playback(PlaybackDevices(source, speaker, screen), conversation).run()


def _source(arguments: argparse.Namespace) -> FileSource | TextSource | Microphone:
    text = text_of(arguments)
    if text is not None and arguments.input is not None:
        raise InputError("give --text or --input: not both")
    if text is not None:
        with ExitStack() as opened:
            voice = opened.enter_context(contextlib.closing(open_voice(settings_of(arguments))))
            source = TextSource(voice, text)
            opened.pop_all()
        return source
    if arguments.input is not None:
        return FileSource(SoundFile.open(arguments.input))
    return Microphone(arguments.device)


def _speaker(arguments: argparse.Namespace, rate: int) -> Loudspeaker | SilentSink:
    if arguments.no_sound:
        return SilentSink()
    try:
        return Loudspeaker(rate, arguments.output_device)
    except InputError as error:
        if arguments.output_device is not None:
            raise
        log.warning("%s; going on without sound", error)
        return SilentSink()
