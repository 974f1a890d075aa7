"""A window through SDL (pygame-ce)."""

import os
from typing import Any, Self

import numpy as np

from lipstream.errors import BackendUnavailable, InputError
from lipstream.types import Image

_UNSEEN = {"offscreen", "dummy", "evdev"}
"""SDL's drivers that show nothing to anybody: it falls back to them where there is no screen."""


class PygameScreen:
    """A window of the avatar's size that can be resized. Main thread only."""

    def __init__(self, width: int, height: int) -> None:
        self._pygame = _open_pygame()
        try:
            self._pygame.display.init()
            self._window = self._pygame.display.set_mode((width, height), self._pygame.RESIZABLE)
        except self._pygame.error as error:
            raise _no_window(str(error)) from error
        driver = self._pygame.display.get_driver()
        if driver in _UNSEEN and "SDL_VIDEODRIVER" not in os.environ:
            self.close()
            raise _no_window(f"SDL found only its '{driver}' driver")
        self.entitle("lipstream")

    def show(self, image: Image) -> None:
        """Show a (H, W, 3) uint8 BGR picture, as large as the window allows, not stretched."""
        height, width = image.shape[:2]
        picture = self._pygame.image.frombuffer(np.ascontiguousarray(image), (width, height), "BGR")
        room = self._window.get_size()
        scale = min(room[0] / width, room[1] / height)
        if scale != 1.0:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            picture = self._pygame.transform.smoothscale(picture, size)
            self._window.fill((0, 0, 0))
        place = [(room[axis] - picture.get_size()[axis]) // 2 for axis in (0, 1)]
        self._window.blit(picture, place)
        self._pygame.display.flip()

    def entitle(self, title: str) -> None:
        """Set the window's title."""
        self._pygame.display.set_caption(title)

    def closed(self) -> bool:
        """Return whether the window was closed, or Esc or q pressed."""
        leave = (self._pygame.K_ESCAPE, self._pygame.K_q)
        return any(
            event.type == self._pygame.QUIT
            or (event.type == self._pygame.KEYDOWN and event.key in leave)
            for event in self._pygame.event.get()
        )

    def close(self) -> None:
        """Close the window; closing twice is fine."""
        self._pygame.display.quit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _no_window(reason: str) -> InputError:
    return InputError(
        f"no window can be opened ({reason}): run it on a desktop, or write a film with"
        " 'lipstream render'"
    )


def _open_pygame() -> Any:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import pygame  # noqa: PLC0415  optional
    except ModuleNotFoundError as error:
        raise BackendUnavailable(
            "the window needs the package pygame-ce: pip install 'lipstream[mic]'"
        ) from error
    return pygame
