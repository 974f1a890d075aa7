"""Prepare the pictures of an avatar, and those of a film, for lips that move in them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lipstream.face.crop import CROP_HEIGHT, CROP_WIDTH, FacePicture, HeadFrame, Region
from lipstream.face.landmarks import FaceMesh, region_of_points
from lipstream.lips.shape import NAMES, OPENINGS, SPREAD, LipFrame, measure_lips
from lipstream.mouth.compositor import GAIN_GAPS, ShapeCompositor, ShapeTarget
from lipstream.types import Float32, Float64, Image

_LOOKED_AT = 9
"""Pictures of an avatar that the mesh looks at: more, where the lips move between them."""
_STILL = 0.02
"""Spread of a lip measure, head units, up to which the lips of an avatar rest."""
_MIDDLE, _HEIGHT = 0.32, 2.2
"""Of the mesh in the head frame: below the eyes, and from forehead to chin."""
_MARGIN = 1.5
_LOOKS = 3
_LOOK_SIZES = (0.93, 1.0, 1.07)
"""Sizes of the regions of which a mean is taken, over that round the points."""
_WIDTH = NAMES.index("outer_width")
_OPEN, _ROUNDED = 1.5, -1.5
"""Gap of a frame that may show teeth, at least, and its width, SPREADs from rest: rounded lips hide
the teeth beside the front ones."""
_WIDENS, _MOVES = 0.6, 0.5
"""Worth of width against gap, and cost of the motion that blurs a frame."""
_TRIED, _APART = 6, 3
"""Frames that are looked at for teeth, and how many lie between two of them, at least."""
_LEAST_EYES_PX = 90.0
"""Distance of the eyes, pixels, from which teeth are cut out for other pictures: of a smaller face
they are five pixels high, and a block in a mouth that opens wider."""
_LEAST_TEETH = 0.010
"""Teeth that a picture shows if it is to be used, square head units."""
_LOOKED_GAPS = (2.0, 4.0, 6.0)
"""Openings of either kind that are drawn and looked at, SPREADs: those of speech."""
_SEEN = (0.4, 2.5)
"""Slope of seen on drawn gaps, between which the mesh sees what is drawn. Beyond it does not: a
painting, or a beard over the lips."""
_GAINS = (1.2, 2.2)
"""Of a face's own gain, at least and at most."""
_AIM = 0.92
"""Of the asked gap, what the mesh is to see: lips that are heard err, and smaller ones err less."""
_GAIN_STEP = 0.02
"""Gains are whole numbers of these: runtimes differ in the mesh's last digits."""


class LipFinder:
    """Finds the mesh points of faces whose crops are known. Used by one thread."""

    def __init__(self, mesh: FaceMesh | None = None) -> None:
        self._mesh = mesh or FaceMesh.open()

    def clone(self) -> "LipFinder":
        """Return another for one other thread; closed by itself."""
        return LipFinder(self._mesh.clone())

    def points(self, image: Image, crop: Float32) -> Float32:
        """Return (468, 2) float32 in pixels of the face that a (2, 3) unit crop lies on."""
        frame = HeadFrame.of_crop(crop)
        x, y = frame.pixels(np.array([0.0, _MIDDLE])) + 0.5
        across = frame.to_pixels[:, 0]
        region = Region(
            float(x),
            float(y),
            _MARGIN * _HEIGHT * frame.eye_px,
            float(np.arctan2(across[1], across[0])),
        )
        points = self._mesh.landmarks(image, region).points
        for _ in range(_LOOKS - 1):
            points = self._mesh.landmarks(image, region_of_points(points)).points
        return points

    def points_near(self, image: Image, points: Float32) -> Float32:
        """Return (468, 2) float32 in pixels of a face that (468, 2) points nearly lie on.

        The mean of some looks: how large the mesh sees a face changes its lips.
        """
        region = region_of_points(points)
        looks = [replace(region, size=region.size * size) for size in _LOOK_SIZES]
        seen = [self._mesh.landmarks(image, one).points for one in looks]
        return np.asarray(np.mean(seen, 0), np.float32)

    def close(self) -> None:
        """Free the network; closing twice is fine."""
        self._mesh.close()


class LipMover:
    """Moves the lips of the pictures of films: from where they stand to where they should.

    Used by one thread.
    """

    def __init__(self, shapes: ShapeCompositor, finder: LipFinder) -> None:
        self._shapes, self._finder = shapes, finder

    @classmethod
    def open(cls, shapes: ShapeCompositor, threads: int = 1) -> list[Self]:
        """Return one for each of so many threads. Raises ModelError."""
        first = LipFinder(FaceMesh.open(frame_threads=threads))
        finders = [first, *(first.clone() for _ in range(threads - 1))]
        return [cls(shapes, finder) for finder in finders]

    def teeth(
        self, lips: Float32 | None, crops: Float32, picture_at: Callable[[int], Image]
    ) -> ShapeTarget | None:
        """Return the frame of a film that shows most teeth (``best_teeth``).

        ``crops`` are the (frames, 2, 3) of the face: pictures in which it is too small for teeth to
        be cut out are not asked for.
        """
        if lips is None:
            return None
        area = np.abs(np.linalg.det(crops[:, :, :2].astype(np.float64)))
        large = np.sqrt(area / (CROP_WIDTH * CROP_HEIGHT)) >= _LEAST_EYES_PX

        def picture(at: int) -> FacePicture:
            return FacePicture(picture_at(at), crops[at])

        best = best_teeth(lips * large[:, None], picture, self._finder, self._shapes)
        return None if best is None else best[1]

    def target(
        self, picture: FacePicture, lips: Float32 | None, teeth: ShapeTarget | None
    ) -> ShapeTarget:
        """Prepare a picture, whose (17,) lips stand as told.

        The teeth are those of ``teeth``: of one frame in all, or they would change in speech.
        """
        points = self._finder.points(picture.image, picture.crop)
        target = self._shapes.target(picture.image, picture.crop, points, own=lips)
        return target if teeth is None else target.with_teeth(teeth)

    def move(self, target: ShapeTarget, lips: LipFrame, strength: float) -> Image:
        """Return a picture with its lips moved, as far as ``strength`` says."""
        return self._shapes.patch(target, lips, strength).image()


def find_teeth(
    picture: FacePicture, finder: LipFinder, shapes: ShapeCompositor
) -> ShapeTarget | None:
    """Return a picture prepared whose open mouth shows teeth, None where it shows too little."""
    target = shapes.target(picture.image, picture.crop, finder.points(picture.image, picture.crop))
    return target if _tooth_area(target) >= _LEAST_TEETH else None


def _tooth_area(target: ShapeTarget) -> float:
    look = target.look
    if look.teeth is None or not look.teeth.hangs or target.frame.eye_px < _LEAST_EYES_PX:
        return 0.0
    return look.teeth.tooth_area(look.light.skin)


def best_teeth(
    lips: Float32,
    picture_at: Callable[[int], FacePicture],
    finder: LipFinder,
    shapes: ShapeCompositor,
) -> tuple[int, ShapeTarget] | None:
    """Return the frame of a film that shows most of its person's teeth, and it prepared.

    ``lips`` are (frames, 17), SPREADs from rest; ``picture_at`` gives the frames. The mouth must be
    wide and open, never rounded; None where no frame shows teeth.
    """
    best: tuple[int, ShapeTarget] | None = None
    most = _LEAST_TEETH
    for place in sorted(_wide_open(lips)):
        picture = picture_at(place)
        points = finder.points(picture.image, picture.crop)
        target = shapes.target(picture.image, picture.crop, points)
        area = _tooth_area(target)
        if area >= most:
            best, most = (place, target), area
    return best


def _wide_open(lips: Float32) -> list[int]:
    """Return the frames of (frames, 17) that are the most likely to show teeth, best first."""
    gap, width = lips[:, 0], lips[:, _WIDTH]
    motion = np.abs(np.gradient(gap)) if len(gap) > 1 else np.zeros_like(gap)
    worth = gap + _WIDENS * width - _MOVES * motion
    worth = np.where((gap >= _OPEN) & (width >= _ROUNDED), worth, -np.inf)
    chosen: list[int] = []
    for place in np.argsort(-worth, kind="stable").tolist():
        if worth[place] == -np.inf or len(chosen) == _TRIED:
            break
        if all(abs(place - other) > _APART for other in chosen):
            chosen.append(place)
    return chosen


def shape_targets(
    frames: NDArray[np.uint8],
    crops: Float32,
    shapes: ShapeCompositor,
    open_mouth: FacePicture | None = None,
) -> tuple[ShapeTarget, ...]:
    """Prepare every frame of an avatar: (F, H, W, 3) and its crops (F, 2, 3).

    Where the lips rest, the face of one frame is carried to the others by their crops: what is
    found anew in every frame trembles. ``open_mouth`` gives teeth to frames that show none.
    """
    finder = LipFinder()
    try:
        teeth = None if open_mouth is None else find_teeth(open_mouth, finder, shapes)
        places = sorted({int(k) for k in np.linspace(0, len(frames) - 1, _LOOKED_AT)})
        seen = {k: finder.points(frames[k], crops[k]) for k in places}
        if _rests(list(seen.values())):
            mesh = np.median([_unit(crops[k], seen[k]) for k in places], 0)
            crop = crops[0]
            points = (mesh @ crop[:, :2].T + crop[:, 2]).astype(np.float32)
            first = _with_teeth(shapes.target(frames[0], crop, points), teeth)
            first = with_own_gains(first, points, finder, shapes)
            return tuple(first.carried(*pair) for pair in zip(frames, crops, strict=True))
        every = [finder.points(*pair) for pair in zip(frames, crops, strict=True)]
    finally:
        finder.close()
    triples = zip(frames, crops, every, strict=True)
    return tuple(_with_teeth(shapes.target(*triple), teeth) for triple in triples)


def with_own_gains(
    target: ShapeTarget, points: Float32, finder: LipFinder, shapes: ShapeCompositor
) -> ShapeTarget:
    """Return the target with gains at which the mesh sees nearly the opening that is asked for.

    It sees one face's openings larger than another's: by the thickness of lips, a beard, teeth. So
    a few are drawn and looked at. ``points`` are the (468, 2) of the target's picture. The common
    gain stays where the mesh does not see what is drawn.
    """
    rest = float(measure_lips(finder.points_near(target.image, points))[0])
    asked = np.repeat(_LOOKED_GAPS, len(OPENINGS))
    seen = np.zeros_like(asked)
    for k, lips in enumerate(gap * opening for gap in _LOOKED_GAPS for opening in OPENINGS):
        drawn = shapes.patch(target, LipFrame(lips.astype(np.float32))).image()
        gap = float(measure_lips(finder.points_near(drawn, points))[0]) - rest
        seen[k] = gap / SPREAD[0]
    if not _SEEN[0] < float(asked @ seen / (asked @ asked)) < _SEEN[1]:
        return target
    wanted = np.interp(asked, GAIN_GAPS, target.gains) * asked / np.maximum(seen, _SEEN[0] * asked)
    wanted *= _AIM
    slope, start = np.polyfit(asked, np.clip(wanted, *_GAINS), 1)
    first, last = (
        round(float(np.clip(start + slope * gap, *_GAINS)) / _GAIN_STEP) * _GAIN_STEP
        for gap in GAIN_GAPS
    )
    return replace(target, gains=(first, last))


def _with_teeth(target: ShapeTarget, teeth: ShapeTarget | None) -> ShapeTarget:
    """Return a target with the teeth of another picture, unless it shows its own."""
    if teeth is None or target.look.teeth is not None:
        return target
    return target.with_teeth(teeth)


def _rests(faces: list[Float32]) -> bool:
    """Return whether the lips stand alike in all pictures."""
    return bool(measure_lips(np.stack(faces)).std(0).max() < _STILL)


def _unit(crop: Float32, points: Float32) -> Float64:
    """Return points in coordinates of their crop."""
    back = np.linalg.inv(crop[:, :2].astype(np.float64))
    return np.asarray((points - crop[:, 2]) @ back.T)
