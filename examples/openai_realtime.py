"""A face for OpenAI Realtime, in a window: it answers what is asked on the command line.

OPENAI_API_KEY=... python examples/openai_realtime.py "What is the weather like on the moon?"
"""

import argparse
import asyncio
import contextlib
import json
import os
from contextlib import ExitStack

from websockets.asyncio.client import connect

from lipstream.live.playout import ShownPicture, SoundBlock
from lipstream_clients.integrations import RATE, AvatarEngine
from lipstream_clients.integrations.realtime import RealtimeBridge
from lipstream_clients.window.devices import Loudspeaker, PygameScreen

URL = "wss://api.openai.com/v1/realtime?model=gpt-realtime"


async def answer(arguments: argparse.Namespace, engine: AvatarEngine) -> None:
    """Ask, and show the answer until it was heard."""
    key = {"Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', '')}"}
    asked = {"type": "message", "role": "user"}
    asked_content = [{"type": "input_text", "text": arguments.question}]
    with ExitStack() as stack:
        screen = stack.enter_context(PygameScreen(engine.avatar.width, engine.avatar.height))
        speaker = None if arguments.no_sound else stack.enter_context(Loudspeaker(RATE))
        async with connect(arguments.url, additional_headers=key) as socket:
            bridge = RealtimeBridge(engine.converse(), socket.send)
            listening = asyncio.create_task(bridge.listen(socket))
            item = {**asked, "content": asked_content}
            await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
            await socket.send(json.dumps({"type": "response.create"}))
            async with contextlib.aclosing(bridge.output()) as output:
                async for one in output:
                    if isinstance(one, ShownPicture):
                        screen.show(one.frame.image)
                    elif isinstance(one, SoundBlock):
                        if speaker is not None:
                            speaker.play(one.pcm)
                    elif one.kind == "ended":
                        break
                    if "leave" in screen.commands():
                        break
            listening.cancel()


def main() -> None:
    """Ask and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question")
    parser.add_argument("--url", default=URL)
    parser.add_argument("--avatar")
    parser.add_argument("--no-sound", action="store_true")
    arguments = parser.parse_args()
    with AvatarEngine.open(arguments.avatar) as engine:
        asyncio.run(answer(arguments, engine))


if __name__ == "__main__":
    main()
