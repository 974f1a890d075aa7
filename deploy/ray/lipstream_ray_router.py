"""Which replica of lipstream on Ray Serve a request is for: the router Ray runs in its proxies.

Ray copies this module by value to wherever requests come in, so it stands alone.
"""

import hashlib
import logging
import pickle
import time
from collections import Counter
from collections.abc import Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from ray.serve.request_router import RequestRouter

log = logging.getLogger("ray.serve")

SENT_SECONDS = 2.0
"""How long an offer that was sent counts as a place taken, on top of what its replica tells."""
ROLES = frozenset({"session", "whep", "whip"})
"""What an offer is for; the server's own list."""
Scope = MutableMapping[str, Any]


def replica_of(path: str) -> str | None:
    """Return the replica that a session's path names, as in ``/whep/REPLICA.SESSION``."""
    parts = path.strip("/").split("/")
    if len(parts) == 2 and parts[0] in ROLES and "." in parts[1]:
        return parts[1].partition(".")[0]
    return None


def stage_of(scope: Scope) -> str | None:
    """Return the stage that an offer, or what a backend sends, names."""
    parts = str(scope["path"]).strip("/").split("/")
    if len(parts) > 1 and parts[0] == "stages":
        return parts[1]
    if str(scope["path"]).strip("/") not in ROLES:
        return None
    named = parse_qs(bytes(scope.get("query_string", b"")).decode("latin-1")).get("stage")
    return named[0] if named else None


def ranked(free: dict[str, int], stages: dict[str, list[str]], stage: str | None) -> list[str]:
    """Return replicas in the order in which an offer tries them.

    Who names a stage goes where it is open. Where it is nowhere, to the first by a hash of both
    names (rendezvous hashing), so that two who come at once meet. Others go where most is free.
    """
    if stage is None:
        return sorted(free, key=lambda one: (-free[one], one))

    def weight(replica: str) -> bytes:
        return hashlib.sha256(f"{stage} {replica}".encode()).digest()

    return sorted(free, key=lambda one: (stage not in stages.get(one, ()), weight(one)))


def left(free: dict[str, int], sent: Iterable[str]) -> dict[str, int]:
    """Return what is free once the offers that were sent there have taken their places."""
    taken = Counter(sent)
    return {name: count - taken[name] for name, count in free.items()}


def asked_of(pending: Any) -> Any:
    """Return a call's first argument: a request's scope, an Asked, or the name of a replica."""
    first = pending.args[0] if pending is not None and pending.args else None
    # A request from outside was packed by Ray's proxy.
    return pickle.loads(first)._asgi_scope if isinstance(first, bytes) else first


def is_offer(asked: Any) -> bool:
    """Return whether somebody asks for a place."""
    scope = getattr(asked, "scope", asked)
    is_request = isinstance(scope, MutableMapping) and scope.get("method") == "POST"
    return is_request and str(scope["path"]).strip("/") in ROLES


class SessionRouter(RequestRouter):
    """Sends a request to the replica that it is for."""

    def initialize_state(self, **_: Any) -> None:
        """Begin with no offer sent: Ray calls it once."""
        self._sent: dict[str, tuple[str, float]] = {}
        """Request -> replica and when, of offers that what replicas tell may not count yet."""

    async def choose_replicas(
        self, candidate_replicas: list[Any], pending_request: Any = None
    ) -> list[list[Any]]:
        """Return the replicas to try, the best first."""
        by_name = {one.replica_id.unique_id: one for one in candidate_replicas}
        try:
            asked = asked_of(pending_request)
            names = self._order(by_name, asked)
            if is_offer(asked):
                request = pending_request.metadata.internal_request_id
                self._sent[request] = (names[0], time.monotonic())
        except Exception:  # what is raised here would leave the call waiting for ever
            log.exception("a request cannot be routed by what it is: any replica takes it")
            names = list(by_name)
        return [[by_name[name]] for name in names]

    def _order(self, by_name: dict[str, Any], asked: Any) -> list[str]:
        stats = {name: dict(one.routing_stats or {}) for name, one in by_name.items()}
        told = {name: int(one.get("free", 1)) for name, one in stats.items()}
        now = time.monotonic()
        self._sent = {k: one for k, one in self._sent.items() if now - one[1] < SENT_SECONDS}
        free = left(told, (name for name, _ in self._sent.values()))
        stages = {name: list(one.get("stages", ())) for name, one in stats.items()}
        if isinstance(asked, str):  # a call for one replica
            return [asked] if asked in by_name else list(by_name)
        if hasattr(asked, "tried"):  # Asked: Ray copies this class, and what it names, by value
            others = {name: count for name, count in free.items() if name not in asked.tried}
            return ranked(others or free, stages, stage_of(asked.scope))
        if isinstance(asked, MutableMapping):
            owner = replica_of(str(asked["path"]))
            if owner in by_name:
                return [owner]
            return ranked(free, stages, stage_of(asked))
        return list(by_name)
