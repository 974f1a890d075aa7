"""A LiveKit agent with a face, in the agent's own process. It greets whoever comes.

    pip install 'lipstream[livekit]' && python examples/livekit_agent.py dev

LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET say which server. An agent of your own gives its
speech recognition, language model and synthesis to AgentSession.
"""

import asyncio
from collections.abc import AsyncIterator

from livekit import rtc
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli

from lipstream.speech import SpeechSettings, open_voice
from lipstream_clients.integrations import AvatarEngine
from lipstream_clients.integrations.livekit import LipstreamAvatar

GREETING = "Hello. I am glad that you came."
server = AgentServer()


async def spoken(text: str) -> AsyncIterator[rtc.AudioFrame]:
    """Yield the sound of a text: in the place of a synthesis."""
    voice = open_voice(SpeechSettings())
    for chunk in await asyncio.to_thread(list, voice.say(text)):
        yield rtc.AudioFrame(chunk.pcm.tobytes(), voice.rate, 1, len(chunk.pcm))


async def show_face(session: AgentSession[None], room: rtc.Room, engine: AvatarEngine) -> None:
    """Have the session speak through an avatar: all that an agent needs for it."""
    await LipstreamAvatar(engine).start(session, room)


async def greet(session: AgentSession[None]) -> None:
    """Say hello, and wait until it was heard."""
    await session.say(GREETING, audio=spoken(GREETING))


@server.rtc_session()
async def entrypoint(context: JobContext) -> None:
    """Join a room."""
    await context.connect()
    session: AgentSession[None] = AgentSession()  # stt=..., llm=..., tts=...
    engine = await asyncio.to_thread(AvatarEngine.open)
    await show_face(session, context.room, engine)
    await session.start(Agent(instructions="Be kind."), room=context.room)
    await greet(session)


if __name__ == "__main__":
    cli.run_app(server)
