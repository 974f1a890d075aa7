"""Where the pictures of a session come from: a prepared avatar, or one picture that moves.

A film has its own (``film.frame_renderers``). ``AvatarCache`` keeps the avatars of a worker.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, Self

import numpy as np

from lipstream.avatar.idle_motion import IdleMotion
from lipstream.avatar.pack import Avatar
from lipstream.avatar.prepare import prepare_faces
from lipstream.inference.model import Features, MouthModel
from lipstream.live.compositor import Target, open_shapes, pixel_compositor
from lipstream.mouth.compositor import ShapeTarget
from lipstream.mouth.prepare import shape_targets
from lipstream.types import Float32, Image

MOST_UNUSED = 2
"""Avatars kept though nobody shows them: those of the package beside the default. One of 115
pictures, 512 x 512, takes 140 MB; preparing it anew takes 0.15 s where its faces were kept."""


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """What stands under one output frame, before any sound."""

    image: Image
    """(H, W, 3) uint8 BGR, never written to."""
    target: Target | ShapeTarget | None
    """Where the mouth goes; None where there is no face: the image passes through untouched."""
    features: Features | None
    """Features of the face, first axis 1; None where there is no face."""


class FrameSource(Protocol):
    """Where a session's pictures come from: an avatar that repeats, or a film with its own time."""

    @property
    def rests(self) -> bool:
        """Whether the pictures' own mouths are at rest, so that silence may show them."""
        ...

    def picture(self, index: int, fps: Fraction) -> SourceFrame:
        """Return the picture under output frame ``index``. Asked once a frame, in rising order."""
        ...


@dataclass(frozen=True, slots=True)
class PreparedAvatar:
    """An avatar and the features a model found in its frames; shared by sessions, never written."""

    avatar: Avatar
    targets: tuple[Target | ShapeTarget, ...]
    features: Features
    """Name -> (F, ...) array."""
    rests: bool = True

    @classmethod
    def prepare(cls, avatar: Avatar, model: MouthModel) -> "PreparedAvatar":
        """Find out what a model needs to know of every frame, or read what was kept of it."""
        if model.manifest.paints == "shape":
            return cls(avatar, shape_targets(avatar.frames, avatar.crops, open_shapes()), {})
        return cls._of_pixels(avatar, model)

    @classmethod
    def _of_pixels(cls, avatar: Avatar, model: MouthModel) -> "PreparedAvatar":
        """Run the face graph over every frame, and the mouth graph for silence, or read both."""
        faces = avatar.cut_crops(model.manifest.face_size)
        found = prepare_faces(model, faces)
        compositor = pixel_compositor(model)
        places = zip(avatar.frames, avatar.crops, faces, found.silent, strict=True)
        targets = tuple(compositor.target_of_face(*place) for place in places)
        return cls(avatar, targets, found.features)

    def picture(self, index: int, fps: Fraction) -> SourceFrame:
        """Return the avatar frame under output frame ``index``; all arrays are views."""
        at = self.avatar.at(index, fps)
        features = {name: bank[at : at + 1] for name, bank in self.features.items()}
        return SourceFrame(self.avatar.frames[at], self.targets[at], features)


class AnimatedPicture:
    """A prepared picture that blinks, breathes and moves a little. Used by one thread."""

    rests = True

    def __init__(self, life: IdleMotion, still: PreparedAvatar, model: MouthModel) -> None:
        """Take what is known of the picture at rest: the crop shows the same as the head moves."""
        self._life, self._features, self._rest = life, still.features, still.targets[0]
        self._compositor = pixel_compositor(model) if isinstance(self._rest, Target) else None

    @classmethod
    def of(cls, still: PreparedAvatar, model: MouthModel) -> Self:
        """Let the first frame of a prepared avatar live."""
        life = IdleMotion(np.array(still.avatar.frames[0]), np.array(still.avatar.crops[0]))
        return cls(life, still, model)

    def picture(self, index: int, fps: Fraction) -> SourceFrame:
        """Return the picture under output frame ``index``, new."""
        phase = float(index / fps / Fraction(self._life.period_s)) % 1.0
        image = self._life.image_at(phase)
        return SourceFrame(image, self._target(image, self._life.crop_at(phase)), self._features)

    def _target(self, image: Image, crop: Float32) -> Target | ShapeTarget:
        if isinstance(self._rest, ShapeTarget):
            return self._rest.carried(image, crop)
        assert self._compositor is not None, "targets of pixels have a compositor of pixels"
        return self._compositor.target(image, crop, self._rest.rest)


@dataclass(slots=True)
class _Kept:
    prepared: PreparedAvatar
    """Holds the avatar, so that the id it is kept under stays its own."""
    users: int = 0


class AvatarCache:
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
