"""Fetch film clips of talking people (GRID), and turn them into arrays that training reads.

The record at Zenodo (3625687; CC BY 4.0) holds ``s1.zip`` to ``s34.zip`` (``s21`` has no film) with
1000 clips each, about half a gigabyte, and ``alignments.zip`` with the word times of all. Sizes and
MD5 sums come from the record itself, the archive's REST API: ``files[].key``, ``size``,
``checksum`` ("md5:...") and ``links.self``.

A prepared folder holds, for N clips of 75 frames at 25 fps:

    clips.json    names of the clips, in order, and how the folder was made
    crops.npy     (N, 75, 96, 96, 3) uint8 BGR, the crop of ``lipstream.face.crop``, steadied
    points.npy    (N, 75, 468, 2) float32, the mesh in crop units (0 to 1)
    mel.npy       (N, 80, 241) float32, as ``lipstream.audio.mel``
    quiet.npy     (N, 75) bool, nobody speaks (from the corpus' word times, else False)
    done.npy      (N,) uint8: 0 to do, 1 prepared, 2 no face found

GRID: Cooke, Barker, Cunningham, Shao, "An audio-visual corpus for speech perception and automatic
speech recognition", JASA 120(5), 2006; CC BY 4.0.
"""

import csv
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import av
import cv2
import numpy as np
from av.error import FFmpegError
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from lipstream.audio.mel import BANDS, mel_spectrogram
from lipstream.errors import FaceNotFound, InputError, MediaError
from lipstream.face.crop import cut_crop, fit_crop
from lipstream.face.landmarks import POINTS
from lipstream.face.tracker import FaceTracker
from lipstream.timing import HOP, MODEL_RATE
from lipstream.types import Array, Float32, Image
from lipstream_models.downloads import RemoteFile, ShowProgress, download, read_text, size_of

RECORD = "https://zenodo.org/api/records/3625687"
ALIGNMENTS = "alignments"
_UNITS_A_SECOND = 25_000
"""Units of the corpus' word times: 75000 is the end of a clip."""
HELD_OUT_EVERY = 20
"""Every 20th clip of a folder is never trained on."""

FACE_SIZE = 96
FRAMES, FPS = 75, 25
SAMPLES = FRAMES * MODEL_RATE // FPS
COLUMNS = 1 + SAMPLES // HOP
TO_DO, PREPARED, FACELESS = 0, 1, 2
_STEADY_FRAMES = 2.0
"""Standard deviation of the smoothing of crops over time, frames: the head moves slower."""


@dataclass(frozen=True, slots=True)
class DecodedClip:
    """A decoded clip."""

    frames: NDArray[np.uint8]
    """(75, H, W, 3) uint8 BGR; a shorter clip holds its last frame."""
    sound: Float32
    """(48000,) float32 in -1..1, 16 kHz mono; a shorter clip ends in silence."""


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """A prepared clip: one row of every array of the folder."""

    crops: NDArray[np.uint8]
    points: Float32
    mel: Float32


@dataclass(frozen=True, slots=True)
class PreparationProgress:
    """How far the preparation is."""

    done: int
    total: int
    faceless: int
    """Clips left out because no face was found in them."""


def list_files(record: str = RECORD) -> dict[str, RemoteFile]:
    """Ask the record for its files, by name. Raises InputError."""
    try:
        listing: dict[str, Any] = json.loads(read_text(record))
        files = [_remote(entry) for entry in listing["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{record} does not list files as the archive's API does ({error!r}): check --record"
        ) from error
    return {file.name: file for file in files}


def _remote(entry: dict[str, Any]) -> RemoteFile:
    kind, _, digest = str(entry["checksum"]).partition(":")
    if kind != "md5" or len(digest) != 32:
        raise ValueError(f"checksum {entry['checksum']}")
    name = str(entry["key"])
    return RemoteFile(name, str(entry["links"]["self"]), digest, int(entry["size"]))


def choose(files: dict[str, RemoteFile], speakers: Iterable[str]) -> list[RemoteFile]:
    """Return the word times and the speakers' films. Raises InputError for unknown speakers."""
    names = [ALIGNMENTS, *dict.fromkeys(speakers)]
    missing = [name for name in names if f"{name}.zip" not in files]
    if missing:
        there = [name.removesuffix(".zip") for name in files if name.endswith(".zip")]
        known = ", ".join(sorted(there, key=lambda name: (len(name), name)))
        raise InputError(f"the record has no film of {', '.join(missing)}; it has {known}")
    return [files[f"{name}.zip"] for name in names]


def fetch(file: RemoteFile, folder: Path, show: ShowProgress) -> None:
    """Download an archive into a folder, going on where an earlier run stopped.

    Raises InputError when it cannot be had, or there is no room for it and its clips beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    needed = 2 * (file.size or 0) - size_of(file.unfinished(folder))
    if needed > (free := shutil.disk_usage(folder).free) and not file.is_in(folder):
        raise InputError(
            f"{file.name} needs {needed >> 20} MB in {folder}, {free >> 20} are free: choose"
            " another --out or fewer speakers"
        )
    download(file, folder, show)


def unpack_speaker(archive: Path, folder: Path) -> int:
    """Unpack the clips of a speaker's archive, whole or not at all; return how many there are.

    Only names ending in ``.mpg`` are taken, and of them the last part. Raises InputError.
    """
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with _archive(archive) as opened:
        clips = [entry for entry in opened.infolist() if _is_clip(entry.filename)]
        if not clips:
            raise InputError(f"{archive} holds no .mpg clips: remove it and download it again")
        for entry in clips:
            with (
                opened.open(entry) as packed,
                (unfinished / PurePosixPath(entry.filename).name).open("wb") as clip,
            ):
                shutil.copyfileobj(packed, clip)
    os.replace(unfinished, folder)  # noqa: PTH105
    return len(clips)


def _is_clip(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".mpg" and not name.startswith("__") and not path.name.startswith(".")


def write_alignments(archive: Path, speaker: str, table: Path) -> int:
    """Write one speaker's word times as the table 'train prepare --alignments' reads.

    Columns clip, start_s, end_s, word, parted by tabs. Returns the number of clips. Raises
    InputError.
    """
    lines, clips = [], 0
    with _archive(archive) as opened:
        for name in sorted(opened.namelist()):
            path = PurePosixPath(name)
            if path.suffix != ".align" or path.parent.name != speaker or name.startswith("__"):
                continue
            clips += 1
            for line in opened.read(name).decode("ascii").splitlines():
                start, end, word = line.split()
                seconds = [int(units) / _UNITS_A_SECOND for units in (start, end)]
                lines.append((path.stem, *(f"{value:.3f}" for value in seconds), word))
    if not clips:
        raise InputError(f"{archive} holds no word times of {speaker}: name another speaker")
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", encoding="utf-8", newline="") as opened_table:
        writer = csv.writer(opened_table, delimiter="\t", lineterminator="\n")
        writer.writerows([("clip", "start_s", "end_s", "word"), *lines])
    return clips


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no archive ({error}): remove it, download again") from error


def read_clip(path: Path) -> DecodedClip:
    """Decode the first three seconds of a clip. Raises MediaError."""
    try:
        with av.open(str(path)) as container:
            pictures = container.decode(video=0)
            frames = [p.to_ndarray(format="bgr24") for p in islice(pictures, FRAMES)]
    except (FFmpegError, OSError, IndexError) as error:
        raise MediaError(f"{path} cannot be decoded: {error}") from error
    if not frames:
        raise MediaError(f"{path} holds no pictures: leave it out")
    frames += [frames[-1]] * (FRAMES - len(frames))
    sound = read_sound(path)[:SAMPLES]
    return DecodedClip(
        np.asarray(np.stack(frames), np.uint8), np.pad(sound, (0, SAMPLES - len(sound)))
    )


def read_sound(path: Path) -> Float32:
    """Decode the sound of a file: (n,) float32 in -1..1, 16 kHz mono. Raises MediaError."""
    try:
        with av.open(str(path)) as container:
            to_model = av.AudioResampler("s16", "mono", MODEL_RATE)
            blocks = [
                part.to_ndarray()[0]
                for frame in [*container.decode(audio=0), None]
                for part in to_model.resample(frame)
            ]
    except (FFmpegError, OSError, IndexError) as error:
        raise MediaError(f"{path} cannot be decoded: {error}") from error
    if not blocks:
        raise MediaError(f"{path} holds no sound: leave it out")
    return np.concatenate(blocks).astype(np.float32) / np.float32(32768)


def track_points(frames: NDArray[np.uint8], tracker: FaceTracker) -> Float32:
    """Follow the face through (T, H, W, 3) frames: (T, 468, 2) float32 pixels.

    Raises FaceNotFound when a frame has none.
    """
    tracker.reset()
    tracked = [tracker.step(frame) for frame in frames]
    missed = sum(points is None for points in tracked)
    if missed:
        raise FaceNotFound(f"no face in {missed} of {len(frames)} frames")
    return np.stack([tracked_face.points for tracked_face in tracked if tracked_face is not None])


def steady_crops(points: Float32) -> Float32:
    """Fit a crop to every frame's points and smooth them over time: (T, 2, 3) float32.

    Looks both ways, so nothing lags; a live stream uses ``lipstream.face.crop.CropSmoother``.
    """
    crops = np.stack([fit_crop(frame) for frame in points]).reshape(len(points), 6)
    smooth = cv2.GaussianBlur(
        crops, (1, 0x11), sigmaX=_STEADY_FRAMES, borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(smooth, np.float32).reshape(-1, 2, 3)


def to_crop_units(points: Float32, crops: Float32) -> Float32:
    """Map (T, 468, 2) pixels into the units (0 to 1) of (T, 2, 3) crops."""
    inverse = np.linalg.inv(crops[:, :, :2].astype(np.float64))
    offset = points - crops[:, None, :, 2]
    return np.asarray(np.einsum("tij,tpj->tpi", inverse, offset), np.float32)


def prepare_clip(path: Path, tracker: FaceTracker) -> PreparedClip:
    """Decode, track and cut one clip. Raises MediaError or FaceNotFound."""
    film = read_clip(path)
    points = track_points(film.frames, tracker)
    affines = steady_crops(points)
    crops = [cut_crop(f, a, FACE_SIZE) for f, a in zip(film.frames, affines, strict=True)]
    return PreparedClip(
        np.stack(crops), to_crop_units(points, affines), mel_spectrogram(film.sound)
    )


def quiet_frames(alignments: Path, names: list[str]) -> NDArray[np.bool_]:
    """Read word times (clip, start_s, end_s, word) and mark the frames where nobody speaks."""
    quiet = np.zeros((len(names), FRAMES), bool)
    rows = {name: row for row, name in enumerate(names)}
    with alignments.open(encoding="utf-8", newline="") as opened:
        for line in csv.DictReader(opened, delimiter="\t"):
            row = rows.get(line["clip"])
            if row is not None and line["word"] in ("sil", "sp"):
                start, end = float(line["start_s"]) * FPS, float(line["end_s"]) * FPS
                quiet[row, max(0, round(start)) : round(end)] = True
    return quiet


def find_clips(folder: Path) -> list[Path]:
    """Return the film clips of a folder by name. Raises InputError when there is none."""
    films = sorted(path for path in folder.glob("*") if path.suffix in (".mkv", ".mpg", ".mp4"))
    if not films:
        raise InputError(f"no .mkv, .mpg or .mp4 clips in {folder}: name the folder of a speaker")
    return films


class PreparedFolder:
    """The arrays of a prepared folder, as memory maps."""

    def __init__(self, folder: Path, mode: str = "r") -> None:
        self.folder = folder
        try:
            about = json.loads((folder / "clips.json").read_text("utf-8"))
            self.names: list[str] = about["clips"]
            self.crops: Image = self._open("crops", mode)
            self.points: Float32 = self._open("points", mode)
            self.mel: Float32 = self._open("mel", mode)
            self.quiet: NDArray[np.bool_] = self._open("quiet", mode)
            self.done: NDArray[np.uint8] = self._open("done", mode)
        except (OSError, KeyError, ValueError) as error:
            raise InputError(
                f"{folder} is not a prepared folder ({error}):"
                " make one with 'lipstream train prepare'"
            ) from error

    def _open(self, name: str, mode: str) -> Array:
        opened: Array = np.load(self.folder / f"{name}.npy", mmap_mode="r" if mode == "r" else "r+")
        return opened

    @classmethod
    def create(cls, folder: Path, names: list[str], quiet: NDArray[np.bool_]) -> "PreparedFolder":
        """Make the empty arrays of a folder, or open those of an earlier, unfinished run."""
        folder.mkdir(parents=True, exist_ok=True)
        listing = folder / "clips.json"
        if listing.exists():
            opened = cls(folder, "r+")
            if opened.names != names:
                raise InputError(f"{folder} was prepared from other clips: choose another --out")
            return opened
        count = len(names)
        shapes = {
            "crops": ((count, FRAMES, FACE_SIZE, FACE_SIZE, 3), np.uint8),
            "points": ((count, FRAMES, POINTS, 2), np.float32),
            "mel": ((count, BANDS, COLUMNS), np.float32),
            "done": ((count,), np.uint8),
        }
        for name, (shape, dtype) in shapes.items():
            open_memmap(folder / f"{name}.npy", "w+", dtype, shape)
        np.save(folder / "quiet.npy", quiet)
        listing.write_text(json.dumps({"clips": names}), "utf-8")
        return cls(folder, "r+")

    def write(self, row: int, clip: PreparedClip | None) -> None:
        """Store a clip, or that it has no face."""
        if clip is not None:
            self.crops[row], self.points[row], self.mel[row] = clip.crops, clip.points, clip.mel
        self.done[row] = PREPARED if clip is not None else FACELESS


def prepare(
    source: Path, out: Path, *, alignments: Path | None = None, jobs: int = 1
) -> Iterator[PreparationProgress]:
    """Prepare every clip of a folder, continuing where an earlier run stopped.

    Yields after each clip. Raises InputError for a folder without clips.
    """
    films = find_clips(source)
    names = [film.stem for film in films]
    quiet = (
        quiet_frames(alignments, names) if alignments else np.zeros((len(films), FRAMES), np.bool_)
    )
    folder = PreparedFolder.create(out, names, quiet)
    rows = [row for row in range(len(films)) if folder.done[row] == TO_DO]
    with ProcessPoolExecutor(jobs) as pool:
        for row, clip in zip(rows, pool.map(_prepare_one, [films[r] for r in rows]), strict=True):
            folder.write(row, clip)
            done = np.asarray(folder.done)
            yield PreparationProgress(
                int((done != TO_DO).sum()), len(films), int((done == FACELESS).sum())
            )


_trackers: list[FaceTracker] = []
"""The tracker of a worker process, opened on its first clip."""


def _prepare_one(path: Path) -> PreparedClip | None:
    if not _trackers:
        cv2.setNumThreads(1)
        _trackers.append(FaceTracker.open(threads=1))
    try:
        return prepare_clip(path, _trackers[0])
    except FaceNotFound:
        return None


def split_rows(folder: PreparedFolder) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of a folder to train on and those held out."""
    rows = np.flatnonzero(np.asarray(folder.done) == PREPARED)
    held_out = rows % HELD_OUT_EVERY == 0
    return rows[~held_out], rows[held_out]
