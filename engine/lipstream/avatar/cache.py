"""The avatars of a worker: each prepared once, kept while somebody shows it, and a few more."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from lipstream.avatar.pack import Avatar
from lipstream.live.pipeline import PreparedAvatar

MOST_UNUSED = 2
"""Avatars kept though nobody shows them: those of the package beside the usual one. One of 115
pictures, 512 x 512, takes 140 MB; preparing it anew takes 0.15 s where its faces were kept."""


@dataclass(slots=True)
class _Kept:
    prepared: PreparedAvatar
    """Holds the avatar, so that the id it is kept under stays its own."""
    users: int = 0


class PreparedAvatars:
    """What ``take`` prepared, to be given back as often as it was taken. Any thread.

    An avatar that somebody has is never dropped. Of the others those given back last are kept,
    MOST_UNUSED at most.
    """

    def __init__(self, prepare: Callable[[Avatar], PreparedAvatar]) -> None:
        """``prepare`` is called on the thread that takes, never twice at a time."""
        self._prepare = prepare
        self._preparing = threading.Lock()  # held meanwhile: two at once would take more cores
        self._lock = threading.Lock()  # guards _kept
        self._kept: dict[int, _Kept] = {}  # by id of the avatar, given back longest ago first

    def take(self, avatar: Avatar) -> PreparedAvatar:
        """Return a prepared avatar; who asks for one on its way waits for that.

        Raises what ``prepare`` raises; the next who asks tries again.
        """
        prepared = self._take_kept(avatar)
        if prepared is None:
            with self._preparing:
                prepared = self._take_kept(avatar) or self._take_new(avatar)
        return prepared

    def give_back(self, prepared: PreparedAvatar) -> None:
        """End one use of what ``take`` returned; never waits for a preparation."""
        with self._lock:
            kept = self._kept.pop(id(prepared.avatar))
            kept.users -= 1
            self._kept[id(prepared.avatar)] = kept
            unused = [key for key, one in self._kept.items() if one.users == 0]
            for key in unused[: max(0, len(unused) - MOST_UNUSED)]:
                del self._kept[key]

    def wait(self, seconds: float) -> None:
        """Wait until nothing is being prepared, at most ``seconds``."""
        if self._preparing.acquire(timeout=seconds):
            self._preparing.release()

    def _take_kept(self, avatar: Avatar) -> PreparedAvatar | None:
        with self._lock:
            kept = self._kept.get(id(avatar))
            if kept is None:
                return None
            kept.users += 1
            return kept.prepared

    def _take_new(self, avatar: Avatar) -> PreparedAvatar:
        prepared = self._prepare(avatar)
        with self._lock:
            self._kept[id(avatar)] = _Kept(prepared, users=1)
        return prepared
