"""The avatars that a visitor may choose from: the server's own, and those of the package."""

import asyncio
import logging

from lipstream import Avatar
from lipstream.avatar import embedded_avatars
from lipstream.errors import AvatarError, InputError, ServerError

log = logging.getLogger(__name__)


class Avatars:
    """Avatars by name, each opened when it is first asked for and shared from then on.

    Of the event loop. An avatar stays in memory until the server ends: an embedded one takes 90 MB
    of pictures, and about half as much that the model found in them.
    """

    def __init__(self, usual: Avatar) -> None:
        """``usual`` is shown to who names none; an embedded one of its name gives way to it."""
        self.usual = usual
        self._packs = {
            name: path for name, path in embedded_avatars().items() if name != usual.name
        }
        self._opened = {usual.name: usual}
        self._opening = asyncio.Lock()

    @property
    def names(self) -> list[str]:
        """Names of all, the usual one's first."""
        return [self.usual.name, *self._packs]

    @property
    def opened(self) -> list[str]:
        """Names of those in memory."""
        return list(self._opened)

    async def open(self, name: str | None) -> Avatar:
        """Return an avatar; None is the usual one.

        Raises InputError for a name that nobody has, ServerError when a pack cannot be read.
        """
        if name is None:
            return self.usual
        if name not in self.names:
            raise InputError(
                f"there is no avatar '{name[:40]}' here: choose one of {', '.join(self.names)}"
            )
        async with self._opening:  # who asks for one on its way waits for that
            if name not in self._opened:
                try:
                    self._opened[name] = await asyncio.to_thread(Avatar.open, self._packs[name])
                except AvatarError as error:
                    log.error("avatar %s cannot be opened: %s", name, error)
                    raise ServerError(f"avatar {name} cannot be read on the server") from error
            return self._opened[name]
