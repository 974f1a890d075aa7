"""An avatar that joins a LiveKit room by itself, on the machine that has the engine.

    python examples/livekit_worker.py --url wss://... --token TOKEN

The token is for the room, under the name that the agent gives to RemoteAvatar, which speaks through
it: ``await RemoteAvatar("face").start(session, ctx.room)``.
"""

import argparse
import asyncio
import sys

from livekit import rtc

from lipstream_clients.integrations import AvatarEngine
from lipstream_clients.integrations.livekit import speak_in_room


async def join(url: str, token: str, engine: AvatarEngine) -> None:
    """Speak in the room until it ends."""
    room = rtc.Room()
    await room.connect(url, token)
    try:
        await speak_in_room(room, engine)
    finally:
        await room.disconnect()


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--avatar")
    arguments = parser.parse_args()
    with AvatarEngine.open(arguments.avatar) as engine:
        try:
            asyncio.run(join(arguments.url, arguments.token, engine))
        except rtc.ConnectError as error:
            sys.stderr.write(f"{arguments.url} cannot be joined: {error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
