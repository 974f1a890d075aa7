"""Which of several faces is meant."""

import re
from dataclasses import dataclass
from typing import Literal

from lipstream.errors import InputError

_POINT = re.compile(r"(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Who:
    """A rule that picks a face from those in a picture."""

    rule: Literal["largest", "nth", "nearest"] = "largest"
    place: int = 1
    """For ``nth``: 1 for the face on the left, 2 for the next to its right, and so on."""
    x: float = 0.0
    """For ``nearest``: the point, in pixels of the film as it is written."""
    y: float = 0.0
    follow: bool = False
    """Whether the person picked first is kept through the film."""


LARGEST = Who()


def parse_who(text: str, follow: bool = False) -> Who:
    """Parse ``largest``, a number from 1 or a point ``x,y``; raises InputError."""
    text = text.strip()
    if text == "largest":
        return Who(follow=follow)
    if text.isdecimal() and int(text) >= 1:
        return Who("nth", place=int(text), follow=follow)
    if point := _POINT.fullmatch(text):
        return Who("nearest", x=float(point[1]), y=float(point[2]), follow=follow)
    raise InputError(
        f"'{text}' picks no face: give largest, a number (1 is the face on the left), or a point"
        " x,y in pixels"
    )
