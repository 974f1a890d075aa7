"""Which of several people speaks: in all of an order's film, or in one piece of its speech."""

import math
from dataclasses import dataclass
from typing import Self, TypeGuard

from lipstream.errors import InputError
from lipstream_clients.dubbing.crowd import MOST_FACES
from lipstream_clients.dubbing.who import Who
from lipstream_server.studio.jobs import Media


def is_number(written: object) -> TypeGuard[int | float]:
    """Return whether a value of a JSON object is a finite number."""
    if isinstance(written, bool) or not isinstance(written, int | float):
        return False
    return math.isfinite(written)


@dataclass(frozen=True, slots=True)
class Speakers:
    """Those among whom an order may choose."""

    face: Media | None
    """The picture or film they are in; None for an avatar."""
    follow: bool
    """Whether whoever is chosen is kept through the film."""

    @classmethod
    def of(cls, face: Media | None, follow: object) -> Self:
        """Check what an order says of following. Raises InputError."""
        if not isinstance(follow, bool):
            raise InputError("follow is true or false")
        if follow and face is None:
            raise InputError("an avatar is one person: leave out who and follow")
        if follow and face is not None and face.kind == "picture":
            raise InputError(
                "follow stays with a person through a film: leave it out for a picture"
            )
        return cls(face, follow)

    def of_film(self, asked: object) -> Who:
        """Return who speaks where a piece names nobody. Raises InputError."""
        if asked == "largest":
            return Who(follow=self.follow)
        if self.face is None:
            raise InputError("an avatar is one person: leave out who and follow")
        if isinstance(asked, int) and not isinstance(asked, bool):
            return self._nth(asked, self.face)
        if isinstance(asked, dict) and set(asked) == {"x", "y"}:
            return self._nearest(asked["x"], asked["y"], self.face)
        raise InputError(
            "who is largest, a number (1 is the face on the left), or a point: an object with x"
            " and y"
        )

    def of_piece(self, asked: object, name: str) -> Who | None:
        """Return who speaks the piece ``name``; None for whoever speaks in all the film.

        Raises InputError.
        """
        if asked is None:
            return None
        if self.face is None or self.face.kind != "film":
            raise InputError(
                f"{name}: only in a film may pieces be spoken by different people: leave out its"
                " who"
            )
        try:
            return self.of_film(asked)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None

    def _nth(self, place: int, face: Media) -> Who:
        found = len(face.faces) if face.kind == "picture" else MOST_FACES
        if not 1 <= place <= found:
            raise InputError(
                f"who asks for face {place}, and {face.name} may have 1 to {found}: the first is"
                " the one on the left"
            )
        return Who("nth", place=place, follow=self.follow)

    def _nearest(self, x: object, y: object, face: Media) -> Who:
        if not (is_number(x) and is_number(y) and 0 <= x <= face.width and 0 <= y <= face.height):
            raise InputError(
                f"the point of who does not lie in {face.name}, which is"
                f" {face.width}x{face.height}: give x and y in its pixels"
            )
        return Who("nearest", x=float(x), y=float(y), follow=self.follow)
