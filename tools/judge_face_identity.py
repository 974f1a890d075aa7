"""Say how well faces are told apart: a threshold set on some people, judged on others.

    python tools/judge_face_identity.py SHARED/data

``faces/london/NNN_03.jpg`` and ``NNN_08.jpg`` are two pictures of one person each (Face Research
Lab London Set, CC BY 4.0): those of even numbers set the threshold where both errors are equal.
Judged are those of odd numbers, and every pair of pictures from different clips of ``grid``
(CC BY 4.0).
"""

import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import av
import numpy as np

from lipstream.face.landmarks import OTHER_PERSON, FaceIdentity
from lipstream.face.tracker import FaceTracker, TrackedFace
from lipstream.media import read_picture

FRAMES = (5, 30, 60)
"""Looked at in each clip."""
S1_CLIPS = 40


class Looks:
    """Pictures of people: who is in them, the file they are of, and their 128 numbers."""

    def __init__(self) -> None:
        self._identity, self._tracker = FaceIdentity.open(), FaceTracker.open()
        self.who: list[str] = []
        self.file: list[str] = []
        self.numbers: list[np.ndarray] = []

    def add(self, who: str, file: Path, image: np.ndarray) -> None:
        """Look at a picture's main face."""
        self._tracker.reset()
        face = self._tracker.step(image)
        if face is None:
            print(f"no face in {file.name}")
            return
        self.who.append(who)
        self.file.append(str(file))
        self.numbers.append(self._identity.of(image, TrackedFace.of(0, face).crop))

    def distances(self, who: set[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the distances of same and of different people, never within a file."""
        pairs = [
            (self.who[a] == self.who[b], float(np.linalg.norm(self.numbers[a] - self.numbers[b])))
            for a, b in combinations(range(len(self.who)), 2)
            if {self.who[a], self.who[b]} <= who and self.file[a] != self.file[b]
        ]
        same = np.array([far for alike, far in pairs if alike])
        return same, np.array([far for alike, far in pairs if not alike])


def frames_of(path: Path) -> Iterator[np.ndarray]:
    """Yield a few pictures of a clip."""
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in FRAMES:
                yield frame.to_ndarray(format="bgr24")


def equal_error(same: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Return the threshold at which both errors are nearest to each other, and their mean."""
    tried = np.linspace(0.2, 0.9, 701)
    missed = np.array([(same > at).mean() for at in tried])
    taken = np.array([(others <= at).mean() for at in tried])
    best = int(np.abs(missed - taken).argmin())
    near = np.flatnonzero(np.abs(missed - taken) == np.abs(missed - taken)[best])
    middle = int(near[len(near) // 2])
    return float(tried[middle]), float((missed[middle] + taken[middle]) / 2)


def main() -> None:
    """Judge."""
    folder = Path(sys.argv[1])
    looks = Looks()
    for path in sorted((folder / "faces" / "london").glob("*_0[38].jpg")):
        looks.add(path.stem.split("_")[0], path, read_picture(path))
    for path in sorted((folder / "grid" / "others").glob("s*.mpg")):
        for image in frames_of(path):
            looks.add(path.stem.split("_")[0], path, image)
    for path in sorted((folder / "grid" / "s1").glob("*.mkv"))[:: 949 // S1_CLIPS]:
        for image in frames_of(path):
            looks.add("s1", path, image)
    people = set(looks.who)
    setting = {who for who in people if who.isdigit() and int(who) % 2 == 0}
    for name, group in (("sets the threshold", setting), ("judged", people - setting)):
        same, others = looks.distances(group)
        at, error = equal_error(same, others)
        print(
            f"{name}: {len(group)} people, {len(same)} pairs of one, {len(others)} of two;"
            f" equal error {error:.2%} at {at:.3f}; at {OTHER_PERSON}:"
            f" {(same > OTHER_PERSON).mean():.2%} of one taken for two,"
            f" {(others <= OTHER_PERSON).mean():.2%} of two for one"
        )


if __name__ == "__main__":
    main()
