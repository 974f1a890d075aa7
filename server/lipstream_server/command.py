"""`lipstream serve`: everything is loaded, then the server listens."""

import argparse
import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import Generator
from pathlib import Path

import uvicorn

from lipstream import Avatar, MouthModel, Worker
from lipstream.cli import (
    add_avatar_argument,
    add_engine_arguments,
    add_voice_arguments,
    settings_of,
)
from lipstream.errors import EngineFailed, InputError, LipstreamError, ServerError
from lipstream.inference.manifest import LIVE
from lipstream.live.worker import choose_frame_threads, leave_out_of_collections
from lipstream.machine import usable_cores
from lipstream.speech import SpeechSettings, open_voice
from lipstream_server.app import Routes
from lipstream_server.auth import AccessControl, AccessRules
from lipstream_server.config import (
    OutputConfig,
    ReachConfig,
    ServerConfig,
    StudioConfig,
    StudioLimits,
    default_folder,
    is_loopback,
    limits_of,
    ports_of,
    read_token,
)
from lipstream_server.http_server import BACKLOG, HttpServer
from lipstream_server.limits import each_line_once_a_second
from lipstream_server.webrtc import aiortc_setup, guards
from lipstream_server.webrtc.guards import ice
from lipstream_server.webrtc.peer import PeerSessions

log = logging.getLogger(__name__)

TOKEN_VARIABLE, TURN_VARIABLE = "LIPSTREAM_TOKEN", "LIPSTREAM_TURN_SECRET"
PUSH_VARIABLE = "LIPSTREAM_PUSH_TOKEN"
LARGEST_MESSAGE = 1024 * 1024
"""Bytes of a WebSocket's message: ten seconds of sound at 48 kHz."""
SHUTDOWN_SECONDS = 3
FAULT_SECONDS = 5.0
"""From the end of the engine to that of the server."""
EXIT_SECONDS = 9.0
"""From a signal to the end of the process, whatever does not end."""
_NO_TLS = (
    "other machines reach this server without TLS: anyone between can read the token, and browsers"
    " give no microphone; add --tls-cert and --tls-key, or put a proxy with TLS before it"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    defaults = ServerConfig()
    parser.add_argument("--host", default=defaults.host, help="address to listen on")
    parser.add_argument("--port", type=int, default=defaults.port, help="0 takes any free one")
    add_avatar_argument(parser)
    add_engine_arguments(parser, LIVE)
    parser.add_argument(
        "--sessions", type=int, default=defaults.sessions, help="peers served at once"
    )
    _add_balancing_arguments(parser)
    parser.add_argument(
        "--token", help=f"secret that clients send; needed off loopback (or {TOKEN_VARIABLE})"
    )
    parser.add_argument(
        "--size", type=int, default=defaults.size, help="longest side of the pictures sent, pixels"
    )
    _add_access_arguments(parser)
    _add_output_arguments(parser)
    _add_reach_arguments(parser)
    add_voice_arguments(parser)
    studio = parser.add_argument_group("the studio page")
    limits = StudioLimits()
    studio.add_argument(
        "--studio",
        type=Path,
        metavar="DIR",
        help=f"where films are kept (default: {default_folder()})",
    )
    default = ", ".join(f"{name}={getattr(limits, name)}" for name in limits.__slots__)
    studio.add_argument(
        "--studio-limit",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help=f"change one of {default}; repeatable",
    )


def _add_balancing_arguments(parser: argparse.ArgumentParser) -> None:
    defaults = ServerConfig()
    parser.add_argument(
        "--advertise-url",
        default=defaults.reach.advertised_url,
        metavar="URL",
        help="address of this very server behind a balancer: sessions are told to come back to it",
    )
    parser.add_argument(
        "--drain-seconds",
        type=float,
        default=defaults.drain_seconds,
        metavar="S",
        help="after SIGTERM take no new sessions, and wait so long for the others (default: 0)",
    )


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    outputs, defaults = parser.add_argument_group("streaming and recording"), OutputConfig()
    outputs.add_argument(
        "--push",
        action="append",
        default=[],
        metavar="URL",
        help="send a stage to rtmp://HOST/APP/KEY, rtmps://, srt:// or, by WHIP, https://HOST/PATH,"
        " and again when the line breaks; repeatable",
    )
    outputs.add_argument(
        "--push-token",
        metavar="SECRET",
        help=f"what WHIP servers are sent as Authorization: Bearer (or {PUSH_VARIABLE})",
    )
    outputs.add_argument(
        "--record",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="record it, .mp4 or .mkv; what is written can be played after a kill; repeatable",
    )
    outputs.add_argument(
        "--stage",
        default=defaults.stage,
        metavar="NAME",
        help=f"the stage that is pushed and recorded (default: {defaults.stage})",
    )
    outputs.add_argument(
        "--recordings", type=Path, metavar="DIR", help="let recordings be begun by HTTP, in here"
    )


def _add_access_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="file that holds the secret, so that it does not stand in the list of processes",
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="site whose pages may ask, as in https://example.org; repeatable; * is all",
    )
    parser.add_argument(
        "--tls-cert", type=Path, metavar="FILE", help="serve HTTPS with these certificates, PEM"
    )
    parser.add_argument(
        "--tls-key", type=Path, metavar="FILE", help="private key of the certificate, PEM"
    )


def _add_reach_arguments(parser: argparse.ArgumentParser) -> None:
    reach = parser.add_argument_group("clients behind firewalls")
    reach.add_argument(
        "--ice-server",
        action="append",
        default=[],
        metavar="URL",
        help="STUN or TURN server that clients are told of, turn:HOST:PORT; repeatable",
    )
    reach.add_argument(
        "--turn-secret",
        metavar="SECRET",
        help=f"secret shared with the TURN server (or {TURN_VARIABLE})",
    )
    reach.add_argument(
        "--udp-ports", metavar="A-B", help="ports for sound and pictures, to be opened in firewalls"
    )
    reach.add_argument(
        "--public-address", metavar="IP", help="address under which a router shows this machine"
    )


def _token(arguments: argparse.Namespace) -> str | None:
    if arguments.token and arguments.token_file:
        raise InputError("--token and --token-file are two secrets: give one")
    if arguments.token_file:
        return read_token(arguments.token_file)
    return arguments.token or os.environ.get(TOKEN_VARIABLE) or None


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    config = _config_of(arguments)
    config.check()
    if not is_loopback(config.host) and config.tls_cert is None:
        log.warning(_NO_TLS)
    check_speech(config.speech)
    with (
        each_line_once_a_second(),
        contextlib.closing(bind(config.host, config.port)) as listener,
        open_sessions(config) as sessions,
    ):
        asyncio.run(serve(config, sessions, listener))
    return 0


def _config_of(arguments: argparse.Namespace) -> ServerConfig:
    speech = settings_of(arguments)
    return ServerConfig(
        host=arguments.host,
        port=arguments.port,
        model=arguments.model or Path(LIVE),
        avatar=arguments.avatar,
        backend=arguments.backend,
        precision=arguments.precision,
        sessions=arguments.sessions,
        drain_seconds=arguments.drain_seconds,
        size=arguments.size,
        token=_token(arguments),
        allowed_origins=tuple(origin.rstrip("/") for origin in arguments.allow_origin),
        tls_cert=arguments.tls_cert,
        tls_key=arguments.tls_key,
        reach=ReachConfig(
            ice_servers=tuple(arguments.ice_server),
            turn_secret=arguments.turn_secret or os.environ.get(TURN_VARIABLE) or None,
            udp_ports=ports_of(arguments.udp_ports),
            public_address=arguments.public_address,
            advertised_url=arguments.advertise_url.rstrip("/"),
        ),
        speech=speech,
        studio=StudioConfig(
            folder=arguments.studio,
            model=arguments.model,
            backend=arguments.backend,
            precision=arguments.precision,
            speech=speech,
            limits=limits_of(arguments.studio_limit),
        ),
        outputs=OutputConfig(
            stage=arguments.stage,
            push=tuple(arguments.push),
            push_token=arguments.push_token or os.environ.get(PUSH_VARIABLE) or None,
            record=tuple(arguments.record),
            recordings=arguments.recordings,
        ),
    )


@contextlib.contextmanager
def open_sessions(config: ServerConfig) -> Generator[PeerSessions]:
    """Load the model and the avatar, and prepare the face: all that takes time."""
    avatar = Avatar.open(config.avatar)
    chosen = choose_frame_threads(config.sessions, usable_cores())
    model = MouthModel.open(
        config.model,
        backend=config.backend,
        precision=config.precision,
        threads=chosen.threads,
        frame_threads=chosen.count,
    )
    with Worker(model, capacity=config.sessions) as worker:
        worker.prepare(avatar)
        on_processor = f"{worker.frame_threads} at once: {chosen.reason}"
        how = on_processor if model.best_batch == 1 else f"up to {model.best_batch} in one run"
        log.info("frames are made by %s, %s", worker.backend, how)
        yield PeerSessions(worker, avatar, config.speech, size=config.size)


def check_speech(speech: SpeechSettings) -> None:
    """Load the voice that texts are spoken with; raises LipstreamError when it was asked for.

    Whoever asked for none can serve without: texts are then refused, one by one.
    """
    try:
        open_voice(speech).close()
    except LipstreamError as error:
        if speech != SpeechSettings():
            raise
        log.info("texts cannot be spoken: %s", error)


async def serve(config: ServerConfig, sessions: PeerSessions, listener: socket.socket) -> None:
    """Answer requests on ``listener`` until SIGINT or SIGTERM; then end every session.

    SIGTERM waits for sessions for ``drain_seconds`` before; a second one does not.
    """
    server = make_server(config, sessions)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, _stop, server)
    loop.add_signal_handler(signal.SIGTERM, _begin_end, server, ending)
    leave_out_of_collections()
    listen(listener)
    print(f"lipstream: ready at {url_of(config, listener)}", flush=True)
    tasks = (
        asyncio.create_task(_watch_engine(sessions, server), name="watch the engine"),
        asyncio.create_task(_drain(sessions, server, ending, config.drain_seconds), name="drain"),
    )
    await server.serve(sockets=[listener])
    for task in tasks:
        task.cancel()
    if (fault := sessions.worker.fault) is not None:
        raise EngineFailed(f"the server ended: {fault}; start it anew")


async def _watch_engine(sessions: PeerSessions, server: HttpServer) -> None:
    """End the server when its engine is over: a process that cannot mend itself is begun anew.

    For FAULT_SECONDS it still answers, so that who asks is told.
    """
    while sessions.worker.fault is None:
        await asyncio.sleep(0.25)
    log.critical("%s: the server ends in %.0f s", sessions.worker.fault, FAULT_SECONDS)
    await sessions.close_all()
    await asyncio.sleep(FAULT_SECONDS)
    _stop(server)


def _begin_end(server: HttpServer, ending: asyncio.Event) -> None:
    """End on the second signal, begin to on the first."""
    if ending.is_set():
        _stop(server)
    ending.set()


async def _drain(
    sessions: PeerSessions, server: HttpServer, ending: asyncio.Event, seconds: float
) -> None:
    """Once told to end, open no stages, wait until those there are over, and stop the server.

    Who comes to a stage that is open is let in: where else could they see it?
    """
    await ending.wait()
    stages = sessions.stages
    stages.draining = True
    if stages.in_use and seconds > 0:
        log.info("%d stages may go on for %.0f s", stages.in_use, seconds)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while stages.in_use or len(sessions):
                await asyncio.sleep(0.1)
    _stop(server)


def _stop(server: HttpServer) -> None:
    """Stop the server, and the process with it, in bounded time."""
    server.stop()
    last = threading.Timer(EXIT_SECONDS, _exit_at_once)
    last.daemon = True
    last.start()


def _exit_at_once() -> None:
    log.critical("something did not end in %.0f s: the process ends without it", EXIT_SECONDS)
    logging.shutdown()
    os._exit(1)


def make_app(config: ServerConfig, sessions: PeerSessions) -> AccessControl:
    """Return the ASGI application for ``sessions``, and set up WebRTC for where it listens.

    Raises ServerError for a version of aiortc or aioice that strangers are not kept out of.
    """
    loopback = is_loopback(config.host)
    guards.install()
    aiortc_setup.listen_on(config.host, loopback)
    ice.bind_to(config.reach.udp_ports, config.reach.public_address)
    aiortc_setup.accept_rsa_certificates()
    aiortc_setup.notice_vanished_peers()
    aiortc_setup.keep_time_when_the_clock_is_set()
    rules = AccessRules(config.token, config.allowed_origins)
    routes = Routes(sessions, config, rules=rules, loopback=loopback)
    return routes.app()


def make_server(config: ServerConfig, sessions: PeerSessions) -> HttpServer:
    """Return a server for ``sessions``. Raises as ``make_app``."""
    return HttpServer(
        uvicorn.Config(
            make_app(config, sessions),
            log_config=None,
            access_log=False,
            server_header=False,
            ws="websockets-sansio",
            ws_max_size=LARGEST_MESSAGE,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            ssl_certfile=config.tls_cert,
            ssl_keyfile=config.tls_key,
        ),
        config.sessions,
    )


def url_of(config: ServerConfig, listener: socket.socket) -> str:
    """Return the address of the page, as a user would type it."""
    host, port = listener.getsockname()[:2]
    address = "127.0.0.1" if host in aiortc_setup.ANY_ADDRESS else host
    where = f"[{address}]" if ":" in address else address
    scheme = "http" if config.tls_cert is None else "https"
    return f"{scheme}://{where}:{port}"


def bind(host: str, port: int) -> socket.socket:
    """Reserve the address; raises ServerError when it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ServerError(f"--host {host} is not an address of this machine: {error}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _not_available(host, port, error) from error
    return listener


def listen(listener: socket.socket) -> None:
    """Let clients connect; raises ServerError when another program was faster."""
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        host, port = listener.getsockname()[:2]
        raise _not_available(host, port, error) from error


def _not_available(host: str, port: int, error: OSError) -> ServerError:
    if error.errno == errno.EADDRINUSE:
        return ServerError(f"port {port} is in use: stop what uses it, or give another with --port")
    if error.errno == errno.EACCES:
        return ServerError(f"port {port} is reserved by the system: give --port 1024 or higher")
    return ServerError(
        f"cannot listen on {host} port {port}: {error.strerror}; give another --host"
    )
