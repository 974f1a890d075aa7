"""Offers changed at random: each is answered or refused, none fails the server."""

import asyncio
import time
from collections import Counter

import pytest

from fuzzing import COUNT, SEED, mutated_text, seeds
from lipstream.errors import InputError, ServerError
from lipstream_server.webrtc.offer import Role, read_offer
from lipstream_server.webrtc.peer import Place
from server.peers import peer, running
from timing import limit


async def offers() -> list[str]:
    made = []
    for directions in (
        ("sendrecv", "recvonly"),
        ("sendonly", "sendonly"),
        ("recvonly", "recvonly"),
    ):
        async with peer() as client:
            made.append(await client.offer(*directions))
    return made


@pytest.mark.slow
def test_fuzzed_offers_are_answered_or_refused_and_leave_nothing_open(worker, toy_avatar):
    async def fuzz() -> tuple[Counter, int, float]:
        bases = await offers()
        outcomes: Counter = Counter()
        slowest = 0.0
        async with running(worker, toy_avatar) as server:
            for chance in seeds(COUNT, SEED):
                sent = mutated_text(chance.choice(bases), chance)
                role = chance.choice(list(Role))
                begun = time.monotonic()
                try:
                    offer = read_offer(sent.encode(), role, keep_candidates=chance.random() < 0.5)
                    place = Place(await server.sessions.stages.open())
                    session, _ = await server.sessions.open(offer, place)
                except (InputError, ServerError) as error:
                    outcomes[type(error).__name__] += 1
                else:
                    outcomes["answered"] += 1
                    await session.end()
                slowest = max(slowest, time.monotonic() - begun)
            return outcomes, len(server.sessions), slowest

    outcomes, left, slowest = asyncio.run(fuzz())
    assert outcomes["answered"] > 0
    assert outcomes["InputError"] > 0
    assert left == 0
    assert worker.session_count() == 0
    assert slowest < 4


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n" * 500, "two sections of a kind"),
        ("".join(f"m=k{k} 9 UDP/TLS/RTP/SAVPF 111\r\n" for k in range(500)), "of kind k0"),
        ("a=rtpmap:111 opus/48000/2\r\n" * 2000, "2003 lines"),
    ],
)
def test_an_offer_of_many_sections_or_lines_is_refused_at_once(lines, says):
    head = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\n"
    begun = time.monotonic()
    with pytest.raises(InputError, match=says):
        read_offer((head + lines).encode(), Role.BOTH, keep_candidates=False)
    assert time.monotonic() - begun < limit(0.1, 1)
