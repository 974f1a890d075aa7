"""WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): one test for each requirement on a server.

``docs/whip-and-whep.md`` names the test of each.
"""

import asyncio
import re
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiortc.sdp import candidate_from_sdp

from lipstream_server.config import ReachConfig
from lipstream_server.webrtc.guards import ice
from server.peers import SDP, Peer, peer, running, until

FRAGMENT = "application/trickle-ice-sdpfrag"
TOKEN = "a long enough token"
BOTH = pytest.mark.parametrize("role", ["whip", "whep"])
DIRECTIONS = {"whip": ("sendonly", "inactive"), "whep": ("recvonly", "recvonly")}
CANDIDATE = "a=candidate:1 1 udp 2113937151 192.0.2.7 50001 typ host generation 0"


async def offer_of(client: Peer, role: str) -> str:
    if role == "whep":
        return await client.offer("recvonly", "recvonly")
    client.connection.addTransceiver("audio", "sendonly")
    await client.connection.setLocalDescription(await client.connection.createOffer())
    return client.connection.localDescription.sdp


@asynccontextmanager
async def joined(worker, avatar, role: str, **settings):
    """Give a server, a connected client, and the answer it had."""
    async with running(worker, avatar, **settings) as server, peer() as client:
        answer = await server.offer(f"/{role}", await offer_of(client, role))
        assert answer.status == 201, answer.body
        await client.accept(answer)
        await client.connected()
        yield server, client, answer


def transport_of(client: Peer):
    return client.connection.getTransceivers()[0].receiver.transport.transport


def fragment(username: str, password: str, *lines: str) -> bytes:
    begin = ["a=group:BUNDLE 0", "m=audio 9 UDP/TLS/RTP/SAVPF 111", "a=mid:0"]
    end = [f"a=ice-ufrag:{username}", f"a=ice-pwd:{password}", *lines]
    return "\r\n".join([*begin, *end, ""]).encode()


def own_fragment(client: Peer, *lines: str) -> bytes:
    own = transport_of(client).iceGatherer.getLocalParameters()
    return fragment(own.usernameFragment, own.password, *lines)


def headers(tag: str, kind: str = FRAGMENT) -> dict[str, str]:
    return {"Content-Type": kind, "If-Match": tag}


# ---------------------------------------------------------------------- HTTP, RFC 9725 4.1


@BOTH
def test_get_and_head_are_answered_with_nothing(worker, toy_avatar, role):
    async def get():
        async with joined(worker, toy_avatar, role) as (server, client, _):
            for path in (f"/{role}", client.location):
                for method in ("GET", "HEAD"):
                    answer = await server.ask(method, path)
                    assert (answer.status // 100, answer.body) == (2, ""), (method, path)

    asyncio.run(get())


@BOTH
def test_another_method_is_refused_and_the_right_ones_are_named(worker, toy_avatar, role):
    async def put():
        async with joined(worker, toy_avatar, role) as (server, client, _):
            endpoint = await server.ask("PUT", f"/{role}")
            session = await server.ask("PUT", client.location)
            return endpoint, session

    endpoint, session = asyncio.run(put())
    assert (endpoint.status, session.status) == (405, 405)
    assert {"POST", "OPTIONS"} <= set(re.split(", *", endpoint.headers["allow"]))
    assert {"PATCH", "DELETE"} <= set(re.split(", *", session.headers["allow"]))


@BOTH
def test_options_say_what_may_be_posted_and_patched(worker, toy_avatar, role):
    async def ask():
        async with joined(worker, toy_avatar, role) as (server, client, _):
            return await server.ask("OPTIONS", f"/{role}"), await server.ask(
                "OPTIONS", client.location
            )

    endpoint, session = asyncio.run(ask())
    assert endpoint.status == session.status == 200
    assert endpoint.headers["accept-post"] == "application/sdp"
    assert session.headers["accept-patch"] == FRAGMENT


@BOTH
def test_a_browsers_preflight_is_answered(worker, toy_avatar, role):
    async def ask():
        origin = "https://other.example"
        async with running(worker, toy_avatar, allowed_origins=(origin,)) as server:
            asking = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            return await server.ask("OPTIONS", f"/{role}", headers=asking)

    answer = asyncio.run(ask())
    assert answer.status // 100 == 2
    assert answer.headers["accept-post"] == "application/sdp"
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    exposed = answer.headers["access-control-expose-headers"]
    assert {"Location", "ETag", "Link"} <= set(exposed.split(", "))


@pytest.mark.slow
@BOTH
def test_a_token_is_taken_as_a_bearer(worker, toy_avatar, role):
    async def offer():
        async with running(worker, toy_avatar, token=TOKEN) as server, peer() as client:
            sdp = await offer_of(client, role)
            bare = await server.offer(f"/{role}", sdp)
            good = await server.offer(f"/{role}", sdp, Authorization=f"Bearer {TOKEN}")
            return bare, good

    bare, good = asyncio.run(offer())
    assert (bare.status, good.status) == (401, 201)
    assert bare.headers["www-authenticate"].startswith("Bearer")


# ----------------------------------------------------------------- set-up and end, 4.2


@BOTH
def test_an_offer_is_answered_as_created_with_its_place(worker, toy_avatar, role):
    async def offer():
        async with joined(worker, toy_avatar, role) as (_, client, answer):
            return client.location, answer

    place, answer = asyncio.run(offer())
    assert answer.headers["content-type"] == "application/sdp"
    assert re.fullmatch(rf"/{role}/[\w-]{{20,}}", place)
    assert answer.body.startswith("v=0")


@BOTH
def test_the_place_is_relative_so_that_it_holds_under_a_prefix(worker, toy_avatar, role):
    async def offer():
        async with running(worker, toy_avatar) as server, peer() as client:
            sdp = (await offer_of(client, role)).encode()
            return await server.ask("POST", f"/{role}?x=/y/", sdp, SDP)

    place = asyncio.run(offer()).headers["location"]
    assert place.startswith(f"{role}/")


@BOTH
def test_another_type_of_content_is_refused(worker, toy_avatar, role):
    async def offer():
        async with running(worker, toy_avatar) as server:
            return await server.ask("POST", f"/{role}", b"v=0", {"Content-Type": "text/plain"})

    assert asyncio.run(offer()).status == 415


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("sdp", ["", "hello", "v=0\r\nm=audio\r\n"])
def test_an_offer_that_is_no_sdp_is_refused(worker, toy_avatar, role, sdp):
    async def offer():
        async with running(worker, toy_avatar) as server:
            return await server.offer(f"/{role}", sdp)

    assert 400 <= asyncio.run(offer()).status < 500


@pytest.mark.parametrize(
    ("role", "offered", "answered"),
    [
        ("whip", "sendonly", "recvonly"),
        ("whip", "sendrecv", "recvonly"),
        ("whep", "recvonly", "sendonly"),
        ("whep", "sendrecv", "sendonly"),
    ],
)
def test_media_goes_one_way(worker, toy_avatar, role, offered, answered):
    async def offer():
        async with running(worker, toy_avatar) as server, peer() as client:
            return await server.offer(f"/{role}", await client.offer(offered, offered))

    body = asyncio.run(offer()).body
    media = [section for section in body.split("m=")[1:] if not section.startswith("application")]
    assert media
    for section in media:
        directions = set(re.findall(r"a=(sendrecv|sendonly|recvonly|inactive)", section))
        assert directions == {answered}


@pytest.mark.parametrize(
    ("role", "offered"),
    [("whip", "recvonly"), ("whip", "inactive"), ("whep", "sendonly"), ("whep", "inactive")],
)
def test_the_wrong_way_is_refused(worker, toy_avatar, role, offered):
    async def offer():
        async with running(worker, toy_avatar) as server, peer() as client:
            return await server.offer(f"/{role}", await client.offer(offered, offered))

    assert asyncio.run(offer()).status == 422


@BOTH
def test_delete_ends_the_session_and_frees_its_place(worker, toy_avatar, role):
    async def end():
        async with joined(worker, toy_avatar, role) as (server, client, _):
            first = await server.ask("DELETE", client.location)
            await until(lambda: client.connection.connectionState in ("closed", "failed"))
            return first.status, len(server.sessions)

    assert asyncio.run(end()) == (200, 0)


@BOTH
def test_delete_by_another_role_ends_nothing(worker, toy_avatar, role):
    async def end():
        async with joined(worker, toy_avatar, role) as (server, client, _):
            name = client.location.rpartition("/")[2]
            others = {"session", "whip", "whep"} - {role}
            statuses = {(await server.ask("DELETE", f"/{one}/{name}")).status for one in others}
            return statuses, len(server.sessions)

    assert asyncio.run(end()) == ({404}, 1)


@pytest.mark.slow
@BOTH
def test_delete_needs_no_tag_and_minds_none(worker, toy_avatar, role):
    async def end():
        async with joined(worker, toy_avatar, role) as (server, client, _):
            return await server.ask("DELETE", client.location, headers={"If-Match": '"other"'})

    assert asyncio.run(end()).status == 200


# ------------------------------------------------------------------------------ ICE, 4.3


@BOTH
def test_the_answer_names_its_ice_session_and_all_its_candidates(worker, toy_avatar, role):
    async def offer():
        async with joined(worker, toy_avatar, role) as (_, _, answer):
            return answer

    answer = asyncio.run(offer())
    assert re.fullmatch(r'"[\w-]+"', answer.headers["etag"])  # strong: no W/
    assert "a=candidate:" in answer.body
    assert "a=end-of-candidates" in answer.body


@BOTH
def test_a_fragment_of_another_type_or_that_is_none_is_refused(worker, toy_avatar, role):
    async def patch():
        async with joined(worker, toy_avatar, role) as (server, client, answer):
            tag, place = answer.headers["etag"], client.location
            other = await server.ask("PATCH", place, b"a=x", headers(tag, "text/plain"))
            junk = await server.ask("PATCH", place, b"hello", headers(tag))
            empty = await server.ask("PATCH", place, b"a=mid:0\r\n", headers(tag))
            return other.status, junk.status, empty.status

    assert asyncio.run(patch()) == (415, 400, 400)


@pytest.mark.slow
@BOTH
def test_candidates_are_taken_later_without_a_new_tag(worker, toy_avatar, role):
    async def patch():
        async with joined(worker, toy_avatar, role) as (server, client, answer):
            body = own_fragment(client, CANDIDATE, "a=end-of-candidates")
            return await server.ask("PATCH", client.location, body, headers(answer.headers["etag"]))

    answer = asyncio.run(patch())
    assert (answer.status, answer.body) == (204, "")
    assert "etag" not in answer.headers


@BOTH
def test_a_candidate_of_no_use_is_left_out_in_silence(worker, toy_avatar, role):
    lines = (
        "a=candidate:1 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
        "a=candidate:2 1 udp 1 5f3c.local 9 typ host",
        "a=candidate:nonsense",
    )

    async def patch():
        async with joined(worker, toy_avatar, role) as (server, client, answer):
            body = own_fragment(client, *lines)
            return await server.ask("PATCH", client.location, body, headers(answer.headers["etag"]))

    assert asyncio.run(patch()).status == 204


@pytest.mark.slow
@BOTH
def test_without_a_tag_or_with_an_old_one_nothing_is_changed(worker, toy_avatar, role):
    async def patch():
        async with joined(worker, toy_avatar, role) as (server, client, _):
            body, place = own_fragment(client, CANDIDATE), client.location
            missing = await server.ask("PATCH", place, body, {"Content-Type": FRAGMENT})
            old = await server.ask("PATCH", place, body, headers('"old"'))
            return missing.status, old.status

    assert asyncio.run(patch()) == (428, 412)


def restarted(client: Peer, answer) -> None:
    """Begin ICE anew on the client's side with what the server answered."""
    lines = dict(
        line.removeprefix("a=").split(":", 1) for line in answer.body.splitlines() if ":" in line
    )
    connection = transport_of(client)._connection
    connection.remote_username, connection.remote_password = lines["ice-ufrag"], lines["ice-pwd"]


@pytest.mark.slow
@BOTH
def test_ice_begins_anew_with_new_credentials_and_media_goes_on(worker, toy_avatar, role):
    async def restart():
        async with joined(worker, toy_avatar, role) as (server, client, first):
            transport = transport_of(client)
            ice.restart(transport, "wait", "w" * 22)  # the client's own, new, credentials
            body = own_fragment(client)
            answer = await server.ask("PATCH", client.location, body, headers("*"))
            restarted(client, answer)
            remote = [one for one in first.body.splitlines() if one.startswith("a=candidate:")]
            for candidate in ice_candidates(remote):
                await transport.addRemoteCandidate(candidate)
            await ice.reconnect(transport, 10)
            [session] = server.sessions
            ours = session._peer.getTransceivers()[0].receiver.transport.transport._connection
            await until(lambda: bool(ours._nominated))
            moved = await moves(server, client, role)
            return first, answer, moved, client.connection.connectionState

    first, answer, moved, state = asyncio.run(restart())
    assert (answer.status, answer.headers["content-type"]) == (200, FRAGMENT)
    assert answer.headers["etag"] != first.headers["etag"]
    assert "a=candidate:" in answer.body
    assert (moved, state) == (True, "connected")


def ice_candidates(lines):
    return [candidate_from_sdp(line.removeprefix("a=candidate:")) for line in lines]


async def moves(server, client: Peer, role: str) -> bool:
    """Return whether media still comes."""
    if role == "whep":
        await asyncio.wait_for(client.track("audio").recv(), 5)
        return True
    [session] = server.sessions
    return session._peer.connectionState == "connected"


@pytest.mark.slow
@BOTH
def test_an_ice_restart_that_fails_leaves_the_session_as_it_was(worker, toy_avatar, role):
    async def restart():
        async with joined(worker, toy_avatar, role) as (server, client, first):
            place, tag = client.location, first.headers["etag"]
            bad = await server.ask("PATCH", place, fragment("a", "b"), headers("*"))
            again = await server.ask("PATCH", place, own_fragment(client, CANDIDATE), headers(tag))
            return bad.status, again.status, await moves(server, client, role)

    assert asyncio.run(restart()) == (400, 204, True)


# -------------------------------------------------------------- SDP, servers, load, 4.4-4.6


@BOTH
def test_sections_are_bundled_and_carry_rtcp_on_the_same_port_alone(worker, toy_avatar, role):
    async def offer():
        async with running(worker, toy_avatar) as server, peer() as client:
            audio, video = ("sendonly",) * 2 if role == "whip" else ("recvonly",) * 2
            return await server.offer(f"/{role}", await client.offer(audio, video))

    body = asyncio.run(offer()).body
    media = [section for section in body.split("m=")[1:] if not section.startswith("application")]
    assert all("a=rtcp-mux\r\na=rtcp-mux-only\r\n" in section for section in media)
    mids = re.findall(r"a=mid:(\S+)", body)
    assert re.search(r"a=group:BUNDLE (.*)", body)[1].split() == mids


def test_what_is_sent_is_one_stream(worker, toy_avatar):
    async def offer():
        async with running(worker, toy_avatar) as server, peer() as client:
            return await server.offer("/whep", await client.offer("recvonly", "recvonly"))

    streams = re.findall(r"a=msid:(\S+)", asyncio.run(offer()).body)
    assert len(streams) == 2
    assert len(set(streams)) == 1


@BOTH
def test_two_tracks_of_a_kind_are_refused(worker, toy_avatar, role):
    async def offer():
        async with running(worker, toy_avatar) as server, peer() as client:
            client.connection.addTransceiver("audio", DIRECTIONS[role][0])
            return await server.offer(f"/{role}", await client.offer(DIRECTIONS[role][0]))

    assert asyncio.run(offer()).status == 422


@BOTH
def test_servers_that_help_through_firewalls_are_linked(worker, toy_avatar, role):
    reach = ReachConfig(("stun:stun.example:3478", "turn:turn.example:3478"), turn_secret="secret")

    async def offer():
        settings = {"reach": reach, "token": TOKEN}
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        async with running(worker, toy_avatar, **settings) as server, peer() as client:
            answer = await server.offer(f"/{role}", await offer_of(client, role), **bearer)
            known = await server.ask("OPTIONS", f"/{role}", headers=bearer)
            stranger = await server.ask("OPTIONS", f"/{role}")
            return answer, known, stranger

    answer, known, stranger = asyncio.run(offer())
    assert '<turn:turn.example:3478>; rel="ice-server"; username="' in answer.headers["link"]
    assert 'credential-type="password"' in known.headers["link"]
    assert "link" not in stranger.headers


@BOTH
def test_a_full_server_says_so_and_when_to_come_again(worker, toy_avatar, role):
    async def fill():
        async with running(worker, toy_avatar) as server, peer() as one, peer() as two:
            for client in (one, two):
                await server.offer("/session", await client.offer())
            async with peer() as late:
                return await server.offer(f"/{role}", await offer_of(late, role))

    answer = asyncio.run(fill())
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0


# -------------------------------------------------------------------------- the document


def test_the_document_names_tests_that_there_are():
    text = Path("docs/whip-and-whep.md").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    there = {name for name in globals() if name.startswith("test_")}
    missing = {name for name in named if name not in there}
    assert len(named) > 20
    assert not missing - {"test_gstreamer_sends_and_is_not_cut_off_for_its_pictures"}
    assert there - {"test_the_document_names_tests_that_there_are"} <= named
