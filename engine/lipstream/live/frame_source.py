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
from lipstream.inference.backends import BankRow, FeatureBank, HostFeatures
from lipstream.inference.model import MouthModel
from lipstream.live.compositor import Target, open_shapes, pixel_compositor
from lipstream.mouth.compositor import ShapeTarget
from lipstream.mouth.prepare import shape_targets
from lipstream.types import Float32, Image

MOST_UNUSED = 2
"""Avatars kept though nobody shows them: those of the package beside the default. One of 115
pictures, 512 x 512, takes 140 MB; preparing it anew takes 0.15 s where its faces were kept."""
NO_FEATURES = BankRow(HostFeatures({}, 1), 0)
"""Of every face, for a model of shapes."""


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """What stands under one output frame, before any sound."""

    image: Image
    """(H, W, 3) uint8 BGR, never written to."""
    target: Target | ShapeTarget | None
    """Where the mouth goes; None where there is no face: the image passes through untouched."""
    face: BankRow | None
    """Where the features of the face are; None where there is no face."""
    on_gpu: bool = False
    """Whether the bank has the picture, too: the model pastes into it."""


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
    bank: FeatureBank
    """Of as many frames."""
    rests: bool = True
    on_gpu: bool = False
    """Whether the bank has the pictures, too."""

    @classmethod
    def prepare(
        cls, avatar: Avatar, model: MouthModel, *, paste_on_gpu: bool = False
    ) -> "PreparedAvatar":
        """Find out what a model needs to know of every frame, or read what was kept of it.

        With ``paste_on_gpu``, where the model pastes, frames are put together there, and come as
        encoders take them, colours at half the size: for who sends them on, not for who edits them.
        """
        if model.manifest.paints == "shape":
            shapes, shown = open_shapes(), avatar.open_mouth
            targets = shape_targets(avatar.frames, avatar.crops, shapes, shown)
            return cls(avatar, targets, model.open_bank({}, len(targets)))
        return cls._of_pixels(avatar, model, paste_on_gpu and model.pastes)

    @classmethod
    def _of_pixels(cls, avatar: Avatar, model: MouthModel, pastes: bool) -> "PreparedAvatar":
        """Run the face graph over every frame, and the mouth graph for silence, or read both."""
        faces = avatar.cut_crops(model.manifest.face_size)
        prepared = prepare_faces(model, faces)
        compositor = pixel_compositor(model)
        places = zip(avatar.frames, avatar.crops, faces, prepared.silent, strict=True)
        targets = tuple(compositor.target_of_face(*place) for place in places)
        bank = model.open_bank(prepared.features, len(targets))
        pictures = [compositor.paste_target(one) for one in targets] if pastes else []
        fit = [one for one in pictures if one is not None]
        on_gpu = len(fit) == len(targets)
        if on_gpu:
            model.open_targets(bank, fit, compositor.feather)
        return cls(avatar, targets, bank, on_gpu=on_gpu)

    def picture(self, index: int, fps: Fraction) -> SourceFrame:
        """Return the avatar frame under output frame ``index``; all arrays are views."""
        at = self.avatar.at(index, fps)
        row = BankRow(self.bank, at)
        return SourceFrame(self.avatar.frames[at], self.targets[at], row, self.on_gpu)


class AnimatedPicture:
    """A prepared picture that blinks, breathes and moves a little. Used by one thread."""

    rests = True

    def __init__(self, life: IdleMotion, still: PreparedAvatar, model: MouthModel) -> None:
        """Take what is known of the picture at rest: the crop shows the same as the head moves."""
        self._life, self._face, self._rest = life, BankRow(still.bank, 0), still.targets[0]
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
        return SourceFrame(image, self._target(image, self._life.crop_at(phase)), self._face)

    def _target(self, image: Image, crop: Float32) -> Target | ShapeTarget:
        if isinstance(self._rest, ShapeTarget):
            return self._rest.carried(image, crop)
        assert self._compositor is not None, "targets of pixels have a compositor of pixels"
        return self._compositor.target(image, crop, self._rest.rest)


@dataclass(slots=True)
class _CacheEntry:
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
        self._lock = threading.Lock()  # guards _entries
        self._entries: dict[int, _CacheEntry] = {}  # by id; given back longest ago first

    def take(self, avatar: Avatar) -> PreparedAvatar:
        """Return a prepared avatar; who asks for one on its way waits for that.

        Raises what ``prepare`` raises; the next who asks tries again.
        """
        prepared = self._take_cached(avatar)
        if prepared is None:
            with self._preparing:
                prepared = self._take_cached(avatar) or self._take_new(avatar)
        return prepared

    def give_back(self, prepared: PreparedAvatar) -> None:
        """End one use of what ``take`` returned; never waits for a preparation."""
        with self._lock:
            entry = self._entries.pop(id(prepared.avatar))
            entry.users -= 1
            self._entries[id(prepared.avatar)] = entry
            unused = [key for key, one in self._entries.items() if one.users == 0]
            for key in unused[: max(0, len(unused) - MOST_UNUSED)]:
                del self._entries[key]

    def wait(self, seconds: float) -> None:
        """Wait until nothing is being prepared, at most ``seconds``."""
        if self._preparing.acquire(timeout=seconds):
            self._preparing.release()

    def _take_cached(self, avatar: Avatar) -> PreparedAvatar | None:
        with self._lock:
            entry = self._entries.get(id(avatar))
            if entry is None:
                return None
            entry.users += 1
            return entry.prepared

    def _take_new(self, avatar: Avatar) -> PreparedAvatar:
        prepared = self._prepare(avatar)
        with self._lock:
            self._entries[id(avatar)] = _CacheEntry(prepared, users=1)
        return prepared
