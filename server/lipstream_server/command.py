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
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from lipstream import Avatar, MouthModel, Worker
from lipstream.cli_options import add_avatar_argument, add_engine_arguments
from lipstream.errors import EngineFailed, InputError, LipstreamError, ServerError
from lipstream.inference.manifest import LIVE
from lipstream.live.worker import choose_frame_threads
from lipstream.machine import usable_cores
from lipstream.speech import SpeechSettings, open_voice
from lipstream.speech.options import add_voice_arguments, settings_of
from lipstream_server.app import Routes
from lipstream_server.auth import AccessRules
from lipstream_server.config import (
    ServerConfig,
    StudioConfig,
    StudioLimits,
    default_folder,
    is_loopback,
    limits_of,
    read_token,
)
from lipstream_server.http_server import BACKLOG, HttpServer
from lipstream_server.repeated_lines import write_each_line_once_a_second
from lipstream_server.webrtc import aiortc_setup, guards
from lipstream_server.webrtc.peers import PeerSessions

log = logging.getLogger(__name__)

TOKEN_VARIABLE = "LIPSTREAM_TOKEN"
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
    parser.add_argument(
        "--token", help=f"secret that clients send; needed off loopback (or {TOKEN_VARIABLE})"
    )
    _add_access_arguments(parser)
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


def _token(arguments: argparse.Namespace) -> str | None:
    if arguments.token and arguments.token_file:
        raise InputError("--token and --token-file are two secrets: give one")
    if arguments.token_file:
        return read_token(arguments.token_file)
    return arguments.token or os.environ.get(TOKEN_VARIABLE) or None


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    speech = settings_of(arguments)
    config = ServerConfig(
        host=arguments.host,
        port=arguments.port,
        model=arguments.model or Path(LIVE),
        avatar=arguments.avatar,
        backend=arguments.backend,
        precision=arguments.precision,
        sessions=arguments.sessions,
        token=_token(arguments),
        allowed_origins=tuple(origin.rstrip("/") for origin in arguments.allow_origin),
        tls_cert=arguments.tls_cert,
        tls_key=arguments.tls_key,
        speech=speech,
        studio=StudioConfig(
            folder=arguments.studio,
            model=arguments.model,
            backend=arguments.backend,
            precision=arguments.precision,
            speech=speech,
            limits=limits_of(arguments.studio_limit),
        ),
    )
    config.check()
    if not is_loopback(config.host) and config.tls_cert is None:
        log.warning(_NO_TLS)
    check_speech(config.speech)
    write_each_line_once_a_second()
    with (
        contextlib.closing(bind(config.host, config.port)) as listener,
        open_sessions(config) as sessions,
    ):
        asyncio.run(serve(config, sessions, listener))
    return 0


@contextlib.contextmanager
def open_sessions(config: ServerConfig) -> Iterator[PeerSessions]:
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
        yield PeerSessions(worker, avatar, config.speech)


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
    """Answer requests on ``listener`` until SIGINT or SIGTERM; then end every session."""
    server = make_server(config, sessions)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _stop, server)
    listen(listener)
    print(f"lipstream: ready at {url_of(config, listener)}", flush=True)
    watching = asyncio.create_task(_watch_engine(sessions, server), name="watch the engine")
    await server.serve(sockets=[listener])
    watching.cancel()
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


def make_server(config: ServerConfig, sessions: PeerSessions) -> HttpServer:
    """Return a server for ``sessions``, and set up WebRTC for where it listens."""
    loopback = is_loopback(config.host)
    guards.install()
    aiortc_setup.listen_on(config.host, loopback)
    aiortc_setup.notice_vanished_peers()
    aiortc_setup.set_bitrates()
    rules = AccessRules(config.token, config.allowed_origins)
    routes = Routes(sessions, rules=rules, loopback=loopback, studio=config.studio)
    return HttpServer(
        uvicorn.Config(
            routes.app(),
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            ssl_certfile=config.tls_cert,
            ssl_keyfile=config.tls_key,
        ),
        config.sessions,
    )


def url_of(config: ServerConfig, listener: socket.socket) -> str:
    """Return the address of the page, as a user would type it."""
    host, port = listener.getsockname()[:2]
    shown = "127.0.0.1" if host in aiortc_setup.ANY_ADDRESS else host
    where = f"[{shown}]" if ":" in shown else shown
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
