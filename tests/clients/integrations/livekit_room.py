"""Stand-ins for LiveKit rooms: tracks that nobody watches, streams and calls to one other."""

import asyncio
from types import SimpleNamespace

from livekit import rtc


class Publication:
    async def wait_for_subscription(self):
        pass


class Participant:
    identity = "agent"

    def __init__(self):
        self.track_publications = {}

    async def publish_track(self, track, options):
        return Publication()


class Room(rtc.EventEmitter):
    """A room as AvatarRunner and RoomIO use it."""

    name = "room"

    def __init__(self):
        super().__init__()
        self.handlers = {}
        self.local_participant = Participant()
        self.remote_participants = {}

    def isconnected(self):
        return True

    def register_byte_stream_handler(self, topic, handler):
        self.handlers[topic] = handler

    register_text_stream_handler = register_byte_stream_handler

    def unregister_byte_stream_handler(self, topic):
        del self.handlers[topic]

    unregister_text_stream_handler = unregister_byte_stream_handler


class Stream:
    """A byte stream on its way: both its writer and its reader."""

    def __init__(self, attributes):
        self.info = SimpleNamespace(attributes=attributes, stream_id="stream")
        self._sent = asyncio.Queue()

    async def write(self, sent):
        self._sent.put_nowait(sent)

    async def aclose(self):
        self._sent.put_nowait(None)

    def __aiter__(self):
        return self

    async def __anext__(self):
        if (sent := await self._sent.get()) is None:
            raise StopAsyncIteration
        return sent


class Member(Participant):
    """Somebody in a room with one other."""

    kind = rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
    state = rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE

    def __init__(self, identity):
        super().__init__()
        self.identity = identity
        self.track_publications = {"v": SimpleNamespace(kind=rtc.TrackKind.KIND_VIDEO)}
        self.rooms, self._rpc_handlers = {}, {}

    def register_rpc_method(self, name, handler):
        self._rpc_handlers[name] = handler

    async def perform_rpc(self, *, destination_identity, method, payload):
        other = self.rooms[destination_identity].local_participant
        called = SimpleNamespace(caller_identity=self.identity, payload=payload)
        return other._rpc_handlers[method](called)

    async def stream_bytes(self, *, name, topic, destination_identities, attributes):
        stream = Stream(attributes)
        self.rooms[destination_identities[0]].handlers[topic](stream, self.identity)
        return stream


class SharedRoom(Room):
    """One of two ends of a room."""

    def __init__(self, member, other):
        super().__init__()
        self.local_participant = member
        self.remote_participants = {other.identity: other}
        other.rooms[member.identity] = self


def two_ends():
    """Return the ends of the agent and of the worker ``face``."""
    agent, face = Member("agent"), Member("face")
    return SharedRoom(agent, face), SharedRoom(face, agent)
