"""Faces without an end of their own: an avatar, and a picture, which is made an avatar of.

Opening one reads its file and no more. Preparing it is the work: the face is found, and what the
model needs to know of it.
"""

from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np

from lipstream.avatar.making import DEFAULT_FPS, find_face
from lipstream.avatar.pack import Avatar
from lipstream.errors import FaceNotFound
from lipstream.face.detector import FaceBox
from lipstream.face.landmarks import FaceMesh, is_mouth_covered, region_of_box, region_of_points
from lipstream.face.tracker import open_crop_tracker
from lipstream.film.face_tracks import box_crop, find_faces
from lipstream.film.job import AS_IT_IS, Framing, RenderJob
from lipstream.film.speaker_selection import SelectionOptions, pad_crops, select_speaker
from lipstream.inference.model import MouthModel
from lipstream.live.frame_source import AnimatedPicture, FrameSource, PreparedAvatar, SourceFrame
from lipstream.types import Float32, Image

_LEFT_ALONE = "the picture is left as it is; --box moves it all the same"


@dataclass(frozen=True, slots=True)
class LoopedSource:
    """A prepared face that repeats, or lives, for ever."""

    frames: FrameSource
    fps: Fraction
    view: Framing = AS_IT_IS
    """How finished pictures are shown: cropped and sized when all is painted."""
    notes: tuple[str, ...] = ()
    """What people should know of its pictures, a sentence each."""

    def picture(self, frame: int) -> SourceFrame:
        """Return the picture of a frame, with its mouth's place."""
        return self.frames.picture(frame, self.fps)


class LoopedFace(Protocol):
    """A face without an end, opened, and not yet prepared."""

    @property
    def width(self) -> int:
        """Pixels across that are painted."""
        ...

    @property
    def height(self) -> int:
        """Pixels down that are painted."""
        ...

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of the pictures as shown; raises InputError."""
        ...

    @property
    def fps(self) -> Fraction:
        """Frames a second."""
        ...

    def prepare(self, model: MouthModel) -> LoopedSource:
        """Find the face and what the model needs to know of it. Raises LipstreamError."""
        ...


@dataclass(frozen=True, slots=True)
class AvatarFace:
    """An avatar: its pack is read, and its frames are decoded."""

    avatar: Avatar
    fps: Fraction
    view: Framing

    @property
    def width(self) -> int:
        """Pixels across that are painted."""
        return self.avatar.width

    @property
    def height(self) -> int:
        """Pixels down that are painted."""
        return self.avatar.height

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of the pictures as shown; raises InputError."""
        return self.view.shown_size(self.width, self.height)

    def prepare(self, model: MouthModel) -> LoopedSource:
        """Return the avatar with what a model knows of its frames."""
        return LoopedSource(PreparedAvatar.prepare(self.avatar, model), self.fps, self.view)


@dataclass(frozen=True, slots=True)
class PictureFace:
    """A picture: it blinks and breathes unless it is to be still."""

    image: Image
    """(H, W, 3) uint8 BGR, as it is shown."""
    job: RenderJob
    """Says whose face it is, where, and whether it stays still."""

    @property
    def width(self) -> int:
        """Pixels across."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """Pixels down."""
        return int(self.image.shape[0])

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height: it was cropped and sized as it was read."""
        return self.width, self.height

    @property
    def fps(self) -> Fraction:
        """Frames a second."""
        return self.job.fps or DEFAULT_FPS

    def prepare(self, model: MouthModel) -> LoopedSource:
        """Find the face, and let it live; raises FaceNotFound where nobody is in the picture.

        A mouth that something covers is left alone, unless its place was given.
        """
        crop = pad_crops(self._crop()[None], self.job.pads)
        avatar = Avatar.from_frames([self.image], crop, name=self.job.face.stem)
        still = PreparedAvatar.prepare(avatar, model)
        source: FrameSource = still if self.job.still else AnimatedPicture.of(still, model)
        if self.job.box is not None or not _is_covered(avatar):
            return LoopedSource(source, self.fps)
        note = f"the mouth in {self.job.face.name} is covered: {_LEFT_ALONE}"
        return LoopedSource(UntouchedPictures(source), self.fps, notes=(note,))

    def _crop(self) -> Float32:
        """Return the (2, 3) crop of the face that is asked for."""
        job = self.job
        if job.box is not None:
            return box_crop(job.box, self.width, self.height)
        if job.who.rule == "largest":
            return find_face(self.image, job.face.name, job.s3fd)
        return _picked(self.image, job)


def _picked(image: Image, job: RenderJob) -> Float32:
    """Return the crop of the face that a rule picks: of a film of one frame."""
    with closing(open_crop_tracker(job.s3fd)) as tracker:
        face_tracks = find_faces(image, tracker)
    speaker = select_speaker(
        face_tracks, job.who, DEFAULT_FPS, SelectionOptions(smooth=False, faded=False)
    )
    if speaker.strength[0] == 0:
        raise FaceNotFound(
            f"--who asks for a face that is not in {job.face.name}: {len(face_tracks.rows)} found"
            " there"
        )
    return np.asarray(speaker.crops[0], np.float32)


def _is_covered(avatar: Avatar) -> bool:
    """Return whether something covers the mouth of a picture."""
    image, crop = np.asarray(avatar.frames[0]), np.asarray(avatar.crops[0])
    corners = crop @ np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]], np.float32)
    with closing(FaceMesh.open()) as mesh:
        box = FaceBox(1.0, *map(float, (*corners.min(1), *corners.max(1))))
        face = mesh.landmarks(image, region_of_box(box))
        face = mesh.landmarks(image, region_of_points(face.points))
        return face.is_face_in(image) and is_mouth_covered(image, face, mesh)


@dataclass(frozen=True, slots=True)
class UntouchedPictures:
    """A source whose mouth nobody can move: it is covered."""

    frames: FrameSource

    @property
    def rests(self) -> bool:
        """Whether silence may show the pictures."""
        return True

    def picture(self, index: int, fps: Fraction) -> SourceFrame:
        """Return the picture under an output frame, without a place for a mouth."""
        return SourceFrame(self.frames.picture(index, fps).image, None, None)
