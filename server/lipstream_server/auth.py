"""Links that open without a header, since players and downloads cannot send one."""

import hmac
import secrets
from collections.abc import Callable, Mapping

VALID_SECONDS = 24 * 3600
"""Links live at least half of this; they end with the server."""
_HALF = VALID_SECONDS // 2


class UrlSigner:
    """Signs paths and checks the signatures. ``now`` gives seconds since 1970."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._key = now, secrets.token_bytes(32)

    def link(self, path: str) -> str:
        """Return a link to ``path``, the same one for half of its life."""
        until = (int(self._now()) // _HALF + 2) * _HALF
        return f"{path}?until={until}&ticket={self._sign(path, until)}"

    def valid(self, path: str, query: Mapping[str, str]) -> bool:
        """Return whether a request for ``path`` carries a ticket for it that has not expired."""
        until, ticket = query.get("until", ""), query.get("ticket", "")
        if not (until.isascii() and until.isdigit() and len(until) <= 12):
            return False
        right = self._sign(path, int(until))
        return hmac.compare_digest(ticket.encode(), right.encode()) and self._now() < int(until)

    def _sign(self, path: str, until: int) -> str:
        return hmac.digest(self._key, f"{until} {path}".encode(), "sha256").hex()
