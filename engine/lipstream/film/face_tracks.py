"""Where faces were seen in a whole film: one row for each face in each frame."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstream.errors import InputError
from lipstream.face.crop import cut_crop
from lipstream.face.landmarks import OTHER_PERSON, FaceIdentity
from lipstream.face.tracker import CropTracker, CutDetector, TrackedFace
from lipstream.film.concurrency import pictures_in_budget, prefetch
from lipstream.film.video_source import VideoSource
from lipstream.lips.shape import MEASURES
from lipstream.storage import atomic_write, unique_writer
from lipstream.types import Array, Float32, Image

_SIDE = 48
_CALM_LOOKS_A_SECOND = 12.5
"""How often a face is looked at that hardly moves."""
_DRAFT_LOOKS_A_SECOND = 6.25
"""The same where it is only to be seen roughly."""
_PART_S, _UNSETTLED_S = 1.6, 0.4
"""Seconds of film that are looked through at once, and at their end those that what follows may
change: mouths fade out ahead of time."""
_CALM = 0.008
"""Movement in heights of the crop a frame, below which a face is calm."""
UPPER, LOWER = (8, 8), (6, 4)
"""Width and height of the two views stored of a face, in tiles: upper half and lower half."""
ROW = np.dtype(
    [
        ("frame", np.int32),
        ("track", np.int32),
        ("person", np.int32),
        ("crop", np.float32, (2, 3)),
        ("size", np.float32),
        ("turn", np.float32),
        ("score", np.float32),
        ("lips", np.float32, (MEASURES,)),
        ("upper", np.uint8, (UPPER[1], UPPER[0], 3)),
        ("lower", np.uint8, (LOWER[1], LOWER[0], 3)),
    ]
)
"""What is stored of a face in a frame."""
_STAYS_PLACE, _STAYS_LEVELS = 0.08, 6.0
"""A face that moves less, in heights of its crop, and whose upper half changes by fewer levels is
the same one, whatever changes round it."""
_IDENTIFIED_AFTER_S, _IDENTIFIED_EVERY_S = 0.5, 4.0
"""It is looked whose face a track shows so soon after the first time, each time twice as long after
the last, and at least so often."""
_CHANGED_LEVELS = 12.0
"""An upper half of a face that changes by more from one look to the next may be another's."""
_CLEAR_TURN, _CLEAR_SCORE, _CLEAR_SIZE = 0.35, 0.9, 48.0
"""Faces more turned, less sure or smaller, in pixels, do not say whose they are."""


class FaceTracks:
    """Rows of what was seen, in order of frames. About 370 bytes a face and frame.

    ``track`` numbers unbroken sights of one face, ``person`` people from 1 on; 0 is nobody known.
    ``lips`` are ``measure_lips``, NaN where no mesh was seen.
    """

    def __init__(self, rows: Array, frames: int, cuts: frozenset[int] = frozenset({0})) -> None:
        self.rows = rows
        self.frames = frames
        """Frames of the video."""
        self.cuts = cuts
        """Frames that begin a shot."""

    @property
    def crops(self) -> Float32:
        """(n, 2, 3) float32, a view."""
        return np.asarray(self.rows["crop"], np.float32)

    def placed(self, affine: Float32) -> "FaceTracks":
        """Return the same faces in pictures that a (2, 3) affine makes of these, without roll."""
        rows = self.rows.copy()
        rows["crop"] = affine[:, :2] @ rows["crop"]
        rows["crop"][:, :, 2] += affine[:, 2]
        rows["size"] = np.linalg.norm(rows["crop"][:, :, 1], axis=1)
        return FaceTracks(rows, self.frames, self.cuts)

    def save(self, path: Path, key: str = "") -> None:
        """Write the rows, whole or not at all; ``key`` says of what. Raises OSError."""
        cuts = np.array(sorted(self.cuts))
        with atomic_write(path, unique_writer()) as unfinished, unfinished.open("wb") as opened:
            np.savez(opened, rows=self.rows, cuts=cuts, frames=self.frames, key=key)

    @classmethod
    def load(cls, path: Path, key: str = "") -> Self:
        """Read what ``save`` wrote with this key. Raises OSError, KeyError or ValueError."""
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["key"]) != key:
                raise ValueError(f"{path} is of another film, or of other parts of it")
            cuts = frozenset(int(cut) for cut in stored["cuts"])
            rows = stored["rows"]
            if rows.dtype != ROW:
                raise ValueError(f"{path} was written by another version")
            return cls(rows, int(stored["frames"]), cuts)


def track_faces(
    video: VideoSource,
    tracker: CropTracker,
    spans: Sequence[range],
    on_frame: Callable[[], None] = lambda: None,
    identity: FaceIdentity | None = None,
) -> FaceTracks:
    """Look for faces in some spans of the video, in order of time.

    With ``identity`` people are told apart, and a track ends where another face takes its place.
    """
    search = _Search(video, tracker, identity)
    for _ in search.walk(spans):
        on_frame()
    return search.tracks()


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """What is known of the faces of a film, perhaps while it is still looked through."""

    tracks: FaceTracks
    until: int
    """Frames of the video before this one are settled."""
    pictures: Mapping[int, Image] = field(default_factory=dict[int, Image])
    """By frame: those that were looked through since the last time."""


def faces_in_parts(
    video: VideoSource, tracker: CropTracker, spans: Sequence[range], identity: FaceIdentity
) -> Iterator[FoundFaces]:
    """Look as ``track_faces`` does, but oftener pass a calm face over, and tell part by part."""
    search = _Search(video, tracker, identity, _DRAFT_LOOKS_A_SECOND)
    unsettled, most = (round(seconds * video.fps) for seconds in (_UNSETTLED_S, _PART_S))
    room = pictures_in_budget(video.width, video.height, most)
    pictures: dict[int, Image] = {}
    for frame, image in search.walk(spans):
        pictures[frame] = image
        if len(pictures) >= room:
            yield FoundFaces(search.tracks(), max(0, frame + 1 - unsettled), pictures)
            pictures = {}
    yield FoundFaces(search.tracks(), video.count, pictures)


class _Search:
    """A search for faces, whose tracks may be asked for while it goes on."""

    def __init__(
        self,
        video: VideoSource,
        tracker: CropTracker,
        identity: FaceIdentity | None,
        looks_a_second: float = _CALM_LOOKS_A_SECOND,
    ) -> None:
        self._video = video
        self._people = None if identity is None else _People(identity, video.fps)
        stride = max(1, round(video.fps / looks_a_second))
        self._watcher = _SparseTracker(tracker, stride, self._people)

    def walk(self, spans: Sequence[range]) -> Iterator[tuple[int, Image]]:
        """Look through the spans; yield each frame and its picture when it is done."""
        video = self._video
        waiting = pictures_in_budget(video.width, video.height, 4)
        for span in spans:
            self._watcher.begin()
            shots = _shots(video.pictures(span.start))
            with closing(prefetch(shots, waiting, "decode")) as pictures:
                for frame, shot in zip(span, pictures, strict=False):
                    self._watcher.step(frame, shot)
                    yield frame, shot.image
            self._watcher.catch_up()

    def tracks(self) -> FaceTracks:
        """Return what was seen so far."""
        rows, cuts, people = self._watcher.rows, set(self._watcher.cuts), self._people
        for later, earlier in _continued(rows, cuts).items():
            rows["track"][rows["track"] == later] = earlier
            if people is not None:
                people.join(earlier, later)
        known = rows if people is None else people.told_apart(rows)
        return FaceTracks(known, self._video.count, frozenset(cuts))


def _continued(rows: Array, cuts: set[int]) -> dict[int, int]:
    """Return the tracks that go on across a cut under another number, later -> earlier.

    A hand before a mouth looks like a cut; where every face stays, it is taken out of ``cuts``.
    """
    same: dict[int, int] = {}
    for cut in sorted(cuts - {0}):
        before, after = rows[rows["frame"] == cut - 1], rows[rows["frame"] == cut]
        stays = 0
        for now in after:
            for last in before:
                shift = float(np.abs(now["crop"] - last["crop"]).max()) / float(last["size"])
                upper = np.abs(now["upper"].astype(np.float32) - last["upper"]).mean()
                if shift < _STAYS_PLACE and upper < _STAYS_LEVELS:
                    track = int(last["track"])
                    same[int(now["track"])] = same.get(track, track)
                    stays += 1
        if stays and stays == len(before) == len(after):
            cuts.discard(cut)
    return same


class _People:
    """Looks now and then whose faces the tracks show."""

    def __init__(self, identity: FaceIdentity, fps: Fraction) -> None:
        self._identity, self._fps = identity, fps
        self._looks: dict[int, list[_IdentityLook]] = {}
        self._unclear: dict[int, _IdentityLook] = {}
        self._upper: dict[int, Float32] = {}

    def look(self, frame: int, image: Image, seen: TrackedFace, row: Array) -> None:
        """Look at a face that is clear, if it was not looked at lately or has changed."""
        if seen.lips is None:  # no mesh, so nobody knows where its eyes are
            return
        looks = self._looks.setdefault(seen.track, [])
        upper = row["upper"].astype(np.float32)
        before = self._upper.get(seen.track, upper)
        self._upper[seen.track] = upper
        changed = float(np.abs(upper - before).mean()) > _CHANGED_LEVELS
        turned, size = abs(seen.turn), seen.size
        if turned > _CLEAR_TURN or seen.score < _CLEAR_SCORE or size < _CLEAR_SIZE:
            last = self._unclear.get(seen.track)
            if not looks and (last is None or (turned < last.turn and size > last.size)):
                numbers = self._identity.of(image, seen.crop)
                self._unclear[seen.track] = _IdentityLook(frame, numbers, turned, size)
        elif changed or not looks or frame - looks[-1].frame >= self._wait(len(looks)):
            looks.append(_IdentityLook(frame, self._identity.of(image, seen.crop)))

    def _wait(self, looks: int) -> float:
        """Return after how many frames to look again at a track looked at so many times."""
        return float(min(_IDENTIFIED_AFTER_S * 2.0 ** (looks - 1), _IDENTIFIED_EVERY_S) * self._fps)

    def join(self, earlier: int, later: int) -> None:
        """Take the looks at one track for looks at another, which it continues."""
        self._looks.setdefault(earlier, []).extend(self._looks.pop(later, []))
        if later in self._unclear:
            self._unclear.setdefault(earlier, self._unclear.pop(later))

    def told_apart(self, rows: Array) -> Array:
        """Return the rows with tracks split where the face changes, and people numbered."""
        rows = rows.copy()
        tracks = int(rows["track"].max(initial=-1)) + 1
        people: list[list[Float32]] = []
        clear_first = sorted(self._looks, key=lambda track: (not self._looks[track], track))
        for track in clear_first:
            unclear = [self._unclear[track]] if track in self._unclear else []
            looks = self._looks[track] or unclear
            mine = np.flatnonzero(rows["track"] == track)
            for part in _parts(looks):
                begins = _begin(rows[mine], looks, part)
                rest = mine[rows["frame"][mine] >= begins]
                if part[0] is not looks[0]:
                    rows["track"][rest] = tracks
                    tracks += 1
                rows["person"][rest] = _number(people, [look.numbers for look in part])
        return rows


@dataclass(frozen=True, slots=True)
class _IdentityLook:
    frame: int
    numbers: Float32
    turn: float = 0.0
    size: float = 0.0


def _parts(looks: list[_IdentityLook]) -> list[list[_IdentityLook]]:
    """Split the looks at a track where they become another person's, and stay so."""
    parts: list[list[_IdentityLook]] = []
    for number, look in enumerate(looks):
        mean = np.mean([one.numbers for one in parts[-1]], 0) if parts else look.numbers
        following = looks[number : number + 2]
        if not parts or min(_apart(one.numbers, mean) for one in following) > OTHER_PERSON:
            parts.append([])
        parts[-1].append(look)
    return parts


def _apart(one: Float32, other: Float32) -> float:
    return float(np.linalg.norm(one - other))


def _begin(rows: Array, looks: list[_IdentityLook], part: list[_IdentityLook]) -> int:
    """Return the frame from which a track's rows show a part's face: where it changes the most."""
    if part[0] is looks[0]:
        return 0
    before = max(look.frame for look in looks if look.frame < part[0].frame)
    between = np.flatnonzero((rows["frame"] > before) & (rows["frame"] <= part[0].frame))
    upper = rows["upper"].astype(np.float32)
    change = np.abs(upper[between] - upper[between - 1]).mean((1, 2, 3))
    return int(rows["frame"][between[change.argmax()]])


def _number(people: list[list[Float32]], looks: list[Float32]) -> int:
    """Return the number of the person whose looks these are, from 1 on; a new one is added."""
    mean = np.mean(looks, 0)
    far = [min(_apart(np.mean(one, 0), mean), _apart(one[0], mean)) for one in people]
    if far and min(far) < OTHER_PERSON:
        number = int(np.argmin(far))
        people[number].extend(looks)
        return number + 1
    people.append(list(looks))
    return len(people)


@dataclass(frozen=True, slots=True)
class _ShotFrame:
    """A picture of a film."""

    image: Image
    cut: bool
    """Whether it begins a shot."""


def _shots(images: Iterator[Image]) -> Iterator[_ShotFrame]:
    """Tell where shots begin: beside the search for faces, which is the longer work."""
    watch_cuts = CutDetector()
    for image in images:
        yield _ShotFrame(image, watch_cuts.step(image))


class _SparseTracker:
    """Looks at every picture while faces move, and at some of them while they are calm.

    What lies between two looks is interpolated later. The pictures on both sides of a cut, and the
    last of a span, are always looked at.
    """

    def __init__(self, tracker: CropTracker, stride: int, people: _People | None = None) -> None:
        self._tracker, self._stride, self._people = tracker, stride, people
        self._rows = np.zeros(1024, ROW)
        self._count = 0
        self.cuts: set[int] = set()
        self.begin()

    @property
    def rows(self) -> Array:
        """All rows so far, new."""
        return self._rows[: self._count].copy()

    def begin(self) -> None:
        """Begin a span."""
        self._places: dict[int, Float32] = {}
        self._looked: int | None = None
        self._calm = False
        self._passed: tuple[int, Image] | None = None

    def step(self, frame: int, picture: _ShotFrame) -> None:
        """Take the next picture."""
        if picture.cut:
            self.catch_up()
            self.cuts.add(frame)
        due = self._looked is None or frame - self._looked >= self._stride
        if picture.cut or due or not self._calm:
            self._look(frame, picture.image, cut=picture.cut)
        else:
            self._passed = (frame, picture.image)

    def catch_up(self) -> None:
        """Look at the picture before, if it was passed over."""
        if self._passed is not None:
            self._look(*self._passed, cut=False)

    def _look(self, frame: int, image: Image, *, cut: bool) -> None:
        passed = 1 if self._looked is None else frame - self._looked
        self._passed, self._looked = None, frame
        if cut:
            self._tracker.reset()
        faces = self._tracker.step(image)
        places = {seen.track: seen.crop for seen in faces}
        self._calm = not cut and places.keys() == self._places.keys()
        for seen in faces:
            before = self._places.get(seen.track, seen.crop)
            moved = float(np.abs(seen.crop - before).max()) / (seen.size * passed)
            self._calm = self._calm and moved < _CALM
            row = _row(frame, image, seen)
            self._add(row)
            if self._people is not None:
                self._people.look(frame, image, seen, row)
        self._places = places

    def _add(self, row: Array) -> None:
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros(len(self._rows), ROW)])
        self._rows[self._count] = row
        self._count += 1


def find_faces(image: Image, tracker: CropTracker) -> FaceTracks:
    """Look for faces in one picture, as if it were a film of one frame."""
    tracker.reset()
    seen = tracker.step(image)
    return FaceTracks(np.array([_row(0, image, face) for face in seen], ROW), 1)


def track_of_box(box: tuple[int, int, int, int], video: VideoSource) -> FaceTracks:
    """Return the same face in every frame: a box of top, bottom, left and right in pixels."""
    rows = np.zeros(video.count, ROW)
    rows["frame"] = np.arange(video.count)
    rows["crop"] = box_crop(box, video.width, video.height)
    rows["size"], rows["score"], rows["lips"] = box[1] - box[0], 1.0, np.nan
    return FaceTracks(rows, video.count)


def box_crop(box: tuple[int, int, int, int], width: int, height: int) -> Float32:
    """Return the (2, 3) crop of a box; raises InputError when it is not in the picture."""
    top, bottom, left, right = box
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise InputError(
            f"--box {top} {bottom} {left} {right} does not lie in the picture, which is"
            f" {width}x{height}: give top, bottom, left and right in pixels"
        )
    return np.array([[right - left, 0, left], [0, bottom - top, top]], np.float32)


def _row(frame: int, image: Image, seen: TrackedFace) -> Array:
    every = max(1, int(seen.size / (2 * _SIDE)))
    look = cut_crop(image[::every, ::every], seen.crop / np.float32(every), _SIDE)
    row = np.zeros((), ROW)
    row["frame"], row["track"], row["crop"] = frame, seen.track, seen.crop
    row["size"], row["turn"], row["score"] = seen.size, seen.turn, seen.score
    row["lips"] = np.nan if seen.lips is None else seen.lips
    row["upper"] = _tiles(look[: _SIDE // 2], UPPER)
    row["lower"] = _tiles(look[_SIDE // 2 :], LOWER)
    return row


def _tiles(image: Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
