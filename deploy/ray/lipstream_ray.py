"""Lipstream on Ray Serve: as many whole servers as there are machines, behind one address.

    pip install 'lipstream[all]' 'ray[serve]'
    RAY_worker_niceness=0 serve run lipstream_ray:app sessions=4 replicas=2

Each replica is a whole server: engine, stages, WebRTC. Its media sockets are its own; nothing but
signalling passes Ray. What Ray does not do by itself, and is done here:

- A session's address names its replica, and what is asked of it later goes there, also while that
  replica drains and Ray leads nothing to it any more.
- An offer goes where most places are free, and on to the others where there is none after all:
  it is refused when all refuse. Who names a stage is led to the replica that has it.
- Each stage is one held call, so that a rollout, and scaling down, wait until it ends.

Ray runs its workers at niceness 15, below all else on a machine: live pictures come late there. The
variable above, set where Ray is started, ends that.

The studio is not served here: it keeps files, and one server is enough for it, ``lipstream serve``.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from lipstream_ray_router import ROLES, Scope, SessionRouter, replica_of
from prometheus_client.parser import text_string_to_metric_families
from ray import serve
from ray.serve.config import RequestRouterConfig

from lipstream.errors import InputError
from lipstream.live.worker import leave_out_of_collections
from lipstream_server.command import make_app, open_sessions
from lipstream_server.config import ReachConfig, ServerConfig, StudioConfig, read_token

log = logging.getLogger("ray.serve")

DEPLOYMENT = "Stages"
STATS_SECONDS = 0.5
"""How often replicas tell the routers how many places they have."""
HOLD_SECONDS = 0.3
"""How often a held call looks whether its stage has ended."""
TAKE_SECONDS, ANSWER_SECONDS = 20.0, 5.0
"""How long a replica waits for mail before it asks again, and whoever asks it for an answer."""
MOST_MAIL = 100
"""Requests that wait for one replica."""
LARGEST_BODY = 1 << 20

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as one replica passes it on to another."""

    scope: dict[str, Any]
    body: bytes
    tried: tuple[str, ...]
    """Replicas that had no place for it."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a replica answered."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Mailbox:
    """Where replicas take what the others cannot answer: a session of a replica that is draining.

    Ray leads nothing to a replica that is to end, while its sessions go on and are asked for. One
    actor for all, of no weight: a request passes it in two steps, and nothing else does.
    """

    def __init__(self) -> None:
        self._asked: dict[str, asyncio.Queue[tuple[int, Asked]]] = {}
        self._answers: dict[int, asyncio.Future[Answered]] = {}
        self._numbers = itertools.count()

    async def take(self, replica: str) -> tuple[int, Asked] | None:
        """Return what a replica is asked next; None after TAKE_SECONDS of nothing."""
        queue = self._asked.setdefault(replica, asyncio.Queue(MOST_MAIL))
        try:
            return await asyncio.wait_for(queue.get(), TAKE_SECONDS)
        except TimeoutError:
            return None

    async def answer(self, number: int, answer: Answered) -> None:
        """Give a request its answer."""
        if (waiting := self._answers.get(number)) is not None and not waiting.done():
            waiting.set_result(answer)

    async def ask(self, replica: str, asked: Asked) -> Answered | None:
        """Return what a replica answers; None when there is none of this name, or it is silent."""
        if (queue := self._asked.get(replica)) is None:
            return None
        number = next(self._numbers)
        waiting = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            queue.put_nowait((number, asked))
            return await asyncio.wait_for(waiting, ANSWER_SECONDS)
        except (TimeoutError, asyncio.QueueFull):  # it was killed
            return None
        finally:
            del self._answers[number]

    def forget(self, replica: str) -> None:
        """Take nothing for a replica any more."""
        self._asked.pop(replica, None)


def mailbox() -> Any:
    """Return the mailbox of this cluster, made by whoever asks first."""
    actor: Any = ray.remote(num_cpus=0, max_restarts=-1)(Mailbox)
    named = {"name": "lipstream mailbox", "namespace": "lipstream", "lifetime": "detached"}
    return actor.options(**named, get_if_exists=True).remote()


class AddressedApp:
    """The server's ASGI application, its sessions' addresses with the replica's name in them."""

    def __init__(self, app: Application, replica: "Replica") -> None:
        self._app, self._replica = app, replica

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = str(scope["path"])
        owner = replica_of(path)
        if owner not in (None, self._replica.name):
            asked = Asked(_plain(scope), await read_all(receive), ())
            await send_answer(send, await self._replica.ask_owner(str(owner), asked))
        elif path == "/studio" or path.startswith("/studio/"):
            await send_answer(send, _NO_STUDIO)
        elif scope["method"] == "POST" and path.strip("/") in ROLES:
            asked = Asked(_plain(scope), await read_all(receive), ())
            await send_answer(send, await self._replica.answer_somewhere(asked))
        elif scope["method"] == "GET" and path == "/metrics":
            asked = Asked(_plain(scope), b"", ())
            await send_answer(send, await self._replica.add_up(asked))
        else:
            await self.answer_own(scope, receive, send)

    async def answer_own(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the server of this replica."""
        await self._app(self._inner(scope), receive, self._signed(send))

    def _signed(self, send: Send) -> Send:
        """Return ``send``, telling which replica answers."""

        async def send_signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), self._replica.signature]
                message = {**message, "headers": headers}
            await send(message)

        return send_signed

    def _inner(self, scope: Scope) -> Scope:
        """Take the replica's name out of a session's address."""
        path = str(scope["path"])
        if replica_of(path) is None:
            return scope
        role, _, named = path.strip("/").partition("/")
        path = f"/{role}/{named.partition('.')[2]}"
        return {**scope, "path": path, "raw_path": path.encode()}


async def answer_of(app: Application, asked: Asked) -> Answered:
    """Have an application answer a request that is whole in memory."""
    status, headers, body = 500, list[tuple[bytes, bytes]](), bytearray()
    told = False

    async def receive() -> Message:
        nonlocal told
        if told:
            await asyncio.Event().wait()
        told = True
        return {"type": "http.request", "body": asked.body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = int(message["status"]), list(message["headers"])
        else:
            body.extend(message.get("body", b""))

    await app({**asked.scope, "extensions": {}}, receive, send)
    return Answered(status, headers, bytes(body))


async def read_all(receive: Receive) -> bytes:
    """Return a request's body; what is longer than any offer is cut, and refused as too long."""
    body = bytearray()
    while len(body) <= LARGEST_BODY:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body"):
            break
    return bytes(body[: LARGEST_BODY + 1])


async def send_answer(send: Send, answer: Answered) -> None:
    """Send an answer that is whole in memory."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})


def _plain(scope: Scope) -> dict[str, Any]:
    """Return what of a request's scope can be sent to another process."""
    names = ("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "root_path")
    required = {name: scope[name] for name in names if name in scope}
    more = ("query_string", "headers", "client", "server")
    return required | {name: scope.get(name) for name in more}


_GONE = Answered(
    404,
    [(b"content-type", b"application/json")],
    b'{"error": "this session has ended, and its server too: begin another"}',
)
_NO_STUDIO = Answered(
    404,
    [(b"content-type", b"application/json")],
    b'{"error": "the studio is a server of its own: start one with lipstream serve"}',
)


def summed(texts: Iterable[str]) -> str:
    """Return the metrics of several servers as one: added up, of delays the longest."""
    about: dict[str, tuple[str, str]] = {}
    values: dict[tuple[str, str], float] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            about[family.name] = (family.type, family.documentation)
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
                key = (family.name, f"{sample.name}{{{labels}}}" if labels else sample.name)
                before = values.get(key, 0.0)
                longest = family.type == "gauge" and family.name.endswith("_seconds")
                both = max(before, sample.value) if longest else before + sample.value
                values[key] = both
    lines = []
    for name, (kind, documentation) in about.items():
        full_name = f"{name}_total" if kind == "counter" else name
        lines += [f"# HELP {full_name} {documentation}", f"# TYPE {full_name} {kind}"]
        lines += [f"{line} {value!r}" for (of, line), value in values.items() if of == name]
    return "\n".join(lines) + "\n"


class Replica:
    """One whole server. Ray makes it, and asks it how it is."""

    def __init__(self, config: ServerConfig) -> None:
        """Load the model and the avatar: all that takes time."""
        self._opened = contextlib.ExitStack()
        folder = self._opened.enter_context(tempfile.TemporaryDirectory(prefix="lipstream-"))
        config = replace(config, studio=StudioConfig(Path(folder) / "studio"))
        node = config.reach.advertised_url.replace("NODE", ray.util.get_node_ip_address())
        self._url = node
        config = replace(config, reach=replace(config.reach, advertised_url=""))
        context = serve.get_replica_context()
        self.name, self._app_name = context.replica_id.unique_id, context.app_name
        self.signature = (b"x-replica", self.name.encode())
        """Header that tells which replica answered."""
        self._sessions = self._opened.enter_context(open_sessions(config))
        self._inner: Application = make_app(config, self._sessions)
        self._held: dict[str, asyncio.Task[None]] = {}
        self._app = AddressedApp(self._inner, self)
        self._mailbox = mailbox()
        self._postman = asyncio.create_task(self._take_mail(), name="mailbox")
        leave_out_of_collections()
        log.info("replica %s of process %d serves", self.name, os.getpid())

    def __serve_build_asgi_app__(self) -> AddressedApp:
        """Return what answers requests: Ray asks for it."""
        return self._app

    async def ask_owner(self, owner: str, asked: Asked) -> Answered:
        """Have another replica answer for its session: Ray leads nobody to one that drains."""
        answer = await self._mailbox.ask.remote(owner, asked)
        return _GONE if answer is None else answer

    async def _take_mail(self) -> None:
        while True:
            try:
                taken = await self._mailbox.take.remote(self.name)
                if taken is not None:
                    number, asked = taken
                    answer = await answer_of(self._app.answer_own, asked)
                    await self._mailbox.answer.remote(number, answer)
            except ray.exceptions.RayError:  # it is being started again
                log.warning("the mailbox is away", exc_info=True)
                await asyncio.sleep(1)

    async def answer_somewhere(self, asked: Asked) -> Answered:
        """Answer an offer here, or, where all places are taken, at another replica."""
        answer = await self.answer_here(asked)
        tried = (*asked.tried, self.name)
        while answer.status == 503:
            passed_on = replace(asked, tried=tried)
            name, elsewhere = await self._handle().take.remote(passed_on)
            if name in tried:
                break
            answer, tried = elsewhere, (*tried, name)
        return answer

    async def take(self, asked: Asked) -> tuple[str, Answered]:
        """Answer an offer that another replica had no place for."""
        return self.name, await self.answer_here(asked)

    async def answer_here(self, asked: Asked) -> Answered:
        """Answer an offer with an address that names this replica, and hold its stage."""
        answer = await answer_of(self._inner, asked)
        headers = dict(answer.headers)
        if answer.status == 201:
            role, session = headers[b"location"].decode().strip("/").split("/")
            self._hold_stage_of(session)
            headers[b"location"] = f"{self._url}/{role}/{self.name}.{session}".encode()
        return replace(answer, headers=[*headers.items(), self.signature])

    async def hold(self, _: str, stage: str) -> None:
        """Return when a stage has ended: a call under way keeps this replica alive."""
        while any(one.name == stage for one in self._sessions.stages):
            await asyncio.sleep(HOLD_SECONDS)

    async def add_up(self, asked: Asked) -> Answered:
        """Answer with the metrics of all replicas together."""
        own = await answer_of(self._inner, asked)
        if own.status != 200:
            return own
        told = (
            await self._handle().broadcast("metrics", asked).results_async(return_exceptions=True)
        )
        by_name: dict[str, str] = dict(one for one in told if isinstance(one, tuple))
        body = summed((by_name | {self.name: own.body.decode()}).values()).encode()
        kept = [one for one in own.headers if one[0].lower() != b"content-length"]
        return Answered(200, kept, body)

    async def metrics(self, asked: Asked) -> tuple[str, str]:
        """Return this replica's name and metrics."""
        return self.name, (await answer_of(self._inner, asked)).body.decode()

    def record_routing_stats(self) -> dict[str, Any]:
        """Tell the routers what is free, and which stages are here."""
        stages = self._sessions.stages
        return {"free": stages.free, "stages": [stage.name for stage in stages]}

    def check_health(self) -> None:
        """Raise when no pictures are made any more: Ray begins a replica anew."""
        if (fault := self._sessions.worker.fault) is not None:
            raise RuntimeError(fault)

    def _hold_stage_of(self, name: str) -> None:
        stages = [one.stage.name for one in self._sessions if one.name == name]
        for stage in stages:  # none, where it has ended already
            if stage not in self._held:
                self._held[stage] = asyncio.create_task(
                    self._keep_alive(stage), name=f"hold {name}"
                )

    async def _keep_alive(self, stage: str) -> None:
        try:
            await self._handle().hold.remote(self.name, stage)
        except Exception:  # the stage lives on, but a rollout may end it
            log.exception("a stage is not held")
        finally:
            del self._held[stage]

    def _handle(self) -> Any:
        return serve.get_deployment_handle(DEPLOYMENT, self._app_name)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it never came so far
            self._opened.close()
            self._postman.cancel()
            self._mailbox.forget.remote(self.name)


DEFAULTS = {
    "sessions": "4", "replicas": "2", "most": "", "cpus": "1", "gpus": "0",
    "host": "127.0.0.1", "token_file": "", "advertise_url": "", "drain_seconds": "3600",
    "model": "", "avatar": "", "backend": "auto", "precision": "fp32",
}  # fmt: skip
"""What ``app`` takes, as ``serve run`` gives it."""


def app(arguments: dict[str, str]) -> serve.Application:
    """Return what ``serve run`` starts.

    ``sessions`` is the number of stages of a replica, ``replicas`` how many there are, ``most`` how
    many there may be (then they follow the number of stages), ``cpus`` and ``gpus`` what each takes
    of a machine. ``advertise_url``, http://NODE:8000, makes addresses absolute: NODE becomes the
    address of the replica's machine, whose proxy is then asked. The rest is as for ``lipstream
    serve``. Raises InputError.
    """
    if unknown := arguments.keys() - DEFAULTS.keys():
        raise InputError(f"unknown {', '.join(sorted(unknown))}: give {', '.join(DEFAULTS)}")
    given = DEFAULTS | arguments
    default, sessions = ServerConfig(), int(given["sessions"])
    config = ServerConfig(
        host=given["host"],
        model=Path(given["model"]) if given["model"] else default.model,
        avatar=Path(given["avatar"]) if given["avatar"] else None,
        backend=given["backend"],
        precision=given["precision"],
        sessions=sessions,
        token=read_token(Path(given["token_file"])) if given["token_file"] else None,
        reach=ReachConfig(advertised_url=given["advertise_url"].rstrip("/")),
    )
    config.check()
    options: dict[str, Any] = {"num_replicas": int(given["replicas"])}
    if given["most"]:
        options = {
            "autoscaling_config": {
                "min_replicas": int(given["replicas"]),
                "max_replicas": int(given["most"]),
                "target_ongoing_requests": max(1.0, 0.75 * sessions),  # a held call each stage
                "upscale_delay_s": 5,
                "downscale_delay_s": 120,
            }
        }
    deployed = serve.deployment(
        name=DEPLOYMENT,
        max_ongoing_requests=100 + sessions,
        ray_actor_options={"num_cpus": float(given["cpus"]), "num_gpus": float(given["gpus"])},
        health_check_period_s=1,
        health_check_timeout_s=30,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=float(given["drain_seconds"]),
        request_router_config=RequestRouterConfig(
            request_router_class=SessionRouter,
            request_routing_stats_period_s=STATS_SECONDS,
            request_routing_stats_timeout_s=5,
        ),
        **options,
    )
    return deployed(serve.ingress()(Replica)).bind(config)
