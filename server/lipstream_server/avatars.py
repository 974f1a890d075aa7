"""The avatars that a visitor may choose from: the server's own, and those of the package."""

import asyncio
import logging
from weakref import WeakValueDictionary

from lipstream import Avatar
from lipstream.avatar.pack import embedded_avatars
from lipstream.errors import AvatarError, InputError

log = logging.getLogger(__name__)


class Avatars:
    """Avatars by name, each opened when it is asked for and shared while somebody has it.

    Of the event loop. The engine has those that are shown and a few more (``prepared_avatars``).
    """

    def __init__(self, default: Avatar) -> None:
        """``default`` is shown to who names none; an embedded one of its name gives way to it."""
        self.default = default
        self._packs = {
            name: path for name, path in embedded_avatars().items() if name != default.name
        }
        self._opened: WeakValueDictionary[str, Avatar] = WeakValueDictionary()
        self._opening = asyncio.Lock()

    @property
    def names(self) -> list[str]:
        """Names of all, the default one's first."""
        return [self.default.name, *self._packs]

    @property
    def opened(self) -> list[str]:
        """Names of those in memory."""
        return [self.default.name, *self._opened]

    async def open(self, name: str | None) -> Avatar:
        """Return an avatar; None is the default one.

        Raises InputError for a name that nobody has, AvatarError when a pack cannot be read.
        """
        if name is None or name == self.default.name:
            return self.default
        if name not in self.names:
            raise InputError(
                f"there is no avatar '{name[:40]}' here: choose one of {', '.join(self.names)}"
            )
        opened = self._opened.get(name)
        if opened is not None:
            return opened
        async with self._opening:  # who asks for one on its way waits for that
            opened = self._opened.get(name)
            return await self._open(name) if opened is None else opened

    async def _open(self, name: str) -> Avatar:
        try:
            opened = await asyncio.to_thread(Avatar.open, self._packs[name])
        except AvatarError as error:
            log.error("avatar %s cannot be opened: %s", name, error)
            others = ", ".join(one for one in self.names if one != name)
            raise AvatarError(
                f"avatar {name} cannot be read on the server: choose one of {others}"
            ) from error
        self._opened[name] = opened
        return opened
