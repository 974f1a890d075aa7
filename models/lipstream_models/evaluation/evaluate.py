"""Paint whole clips with a checkpoint or an exported model, and measure what it paints."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lipstream.audio.mel import BANDS, SILENCE, mel_spectrogram
from lipstream.errors import InputError
from lipstream.face.landmarks import FaceMesh, region_of_points
from lipstream.inference.manifest import read_manifest
from lipstream.inference.model import MouthModel
from lipstream.timing import MODEL_RATE, Timing
from lipstream.types import Float32, Image
from lipstream_models.corpora.grid_corpus import (
    COLUMNS,
    FACE_SIZE,
    FPS,
    FRAMES,
    SAMPLES,
    PreparedFolder,
)
from lipstream_models.evaluation import metrics
from lipstream_models.evaluation.metrics import (
    ClipMetrics,
    LipMetrics,
    PictureMetrics,
    RestMetrics,
    StillMetrics,
)
from lipstream_models.evaluation.sync_scorer import SyncScorer
from lipstream_models.networks.wav2lip import SplitNetwork, mask_and_join, to_pixels

_HALF = FACE_SIZE // 2
MEASURED = range(3, FRAMES - 4)
"""Frames of a clip that are painted: at the ends half of the sound is missing."""
_SOUND_FRAMES = range(12, 60)
"""Frames of a made-up sound that are painted."""
_CALM_SHARE = 0.2
"""The frames of a film that change least."""


_AT_ONCE = 24
"""Frames painted in one batch: what a batch holds in memory stays small."""


class MouthRenderer(Protocol):
    """Something that paints the mouth for windows of sound."""

    timing: Timing
    """Which mel columns belong to which frame."""

    def render(
        self, upper: NDArray[np.uint8], reference: Image, windows: Float32
    ) -> NDArray[np.uint8]:
        """Return (T, 96, 96, 3): crops with the painted mouth, a new array.

        ``upper`` is (T, 96, 96, 3) and gives the upper halves, ``reference`` (96, 96, 3) the face,
        ``windows`` (T, 80, columns).
        """
        ...


def make_timing(mel_columns: int, window_start_ms: int) -> Timing:
    """Return the schedule of a network on clips at 25 frames a second."""
    return Timing(MODEL_RATE, Fraction(FPS), mel_columns, window_start_ms)


def windows_of(mel: Float32, frames: Sequence[int], timing: Timing) -> Float32:
    """Return the (T, 80, columns) windows of frames of a clip's (80, n) mel; outside is silence."""
    firsts = [timing.first_column(frame) for frame in frames]
    before = max(0, -min(firsts))
    after = max(0, max(firsts) + timing.mel_columns - mel.shape[1])
    padded = np.pad(mel, ((0, 0), (before, after)), constant_values=SILENCE)
    starts = [first + before for first in firsts]
    return np.stack([padded[:, start : start + timing.mel_columns] for start in starts])


class TorchRenderer:
    """Paint with a network in torch. It sees the upper half and the reference apart."""

    def __init__(self, network: SplitNetwork) -> None:
        _check_size(network.face_size)
        self._network = network.eval()
        self._top, self._bottom = network.mouth_rows
        self.timing = make_timing(network.mel_columns, network.window_start_ms)

    def render(
        self, upper: NDArray[np.uint8], reference: Image, windows: Float32
    ) -> NDArray[np.uint8]:
        """Return the painted crops."""
        rendered = upper.copy()
        own = mask_and_join(torch.from_numpy(reference[None].copy()))[:, 3:]
        for at in range(0, len(upper), _AT_ONCE):
            part = slice(at, at + _AT_ONCE)
            face = mask_and_join(torch.from_numpy(np.ascontiguousarray(upper[part])))
            face[:, 3:] = own
            with torch.no_grad():
                mouth = to_pixels(self._network(torch.from_numpy(windows[part])[:, None], face))
            rows = mouth.numpy()[:, self._top - self._bottom :]
            rendered[part, self._top : self._bottom] = rows
        return rendered


class ModelFolderRenderer:
    """Paint with an exported model, as the engine does.

    The graphs take one picture as target and reference: here the upper half of the frame over the
    lower half of the reference.
    """

    def __init__(self, model: MouthModel) -> None:
        manifest = model.manifest
        _check_size(manifest.face_size)
        self._model = model
        self._top, self._bottom = manifest.mouth_top, manifest.mouth_bottom
        self.timing = make_timing(manifest.mel_columns, manifest.window_start_ms)

    def render(
        self, upper: NDArray[np.uint8], reference: Image, windows: Float32
    ) -> NDArray[np.uint8]:
        """Return the painted crops."""
        rendered = upper.copy()
        for at in range(0, len(upper), _AT_ONCE):
            part = slice(at, at + _AT_ONCE)
            faces = upper[part].copy()
            faces[:, _HALF:] = reference[_HALF:]
            features = self._model.face_features(faces)
            mel = np.ascontiguousarray(windows[part][:, None])
            rendered[part, self._top : self._bottom] = self._model.mouth(mel, features)
        return rendered


def open_renderer(path: Path) -> MouthRenderer:
    """Open a model folder, or a Wav2Lip's checkpoint, that paints pixels.

    Raises ModelError or InputError.
    """
    if path.is_dir():
        if read_manifest(path).paints != "pixels":
            raise InputError(
                f"{path} says how lips stand and paints no crop: give it films, --films FOLDER, or"
                " name a model that paints pixels, as an exported Wav2Lip does"
            )
        return ModelFolderRenderer(MouthModel.open(path, threads=torch.get_num_threads()))
    from lipstream_models.networks.loading import LoadedMouth, load_network  # noqa: PLC0415  needs torch

    loaded = load_network(path)
    if not isinstance(loaded, LoadedMouth):
        raise InputError(f"{path} holds no network that paints mouths: name a Wav2Lip's checkpoint")
    return TorchRenderer(loaded.network)


def _check_size(face_size: int) -> None:
    if face_size != FACE_SIZE:
        raise InputError(
            f"the network paints crops of {face_size} pixels, prepared clips have {FACE_SIZE}:"
            " they cannot be compared"
        )


@dataclass(frozen=True, slots=True)
class ClipTruth:
    """What is known of a clip before any network: measured once."""

    crops: NDArray[np.uint8]
    """(T, 96, 96, 3) uint8, the frames of ``MEASURED``."""
    where: Float32
    """(T, 468, 2) float32 in crop sizes, as prepared: where to look for the face."""
    points: Float32
    """(T, 468, 2) float32 in crop sizes, seen in the crops as in painted ones."""
    reference: Image
    """(96, 96, 3) uint8: the clip's resting frame."""
    rest_where: Float32
    """(1, 468, 2): where its face is."""
    rest_points: Float32
    """(1, 468, 2): the mesh seen in it."""


class Evaluation:
    """Measure one network, clip by clip."""

    def __init__(
        self,
        renderer: MouthRenderer,
        folder: PreparedFolder,
        mesh: FaceMesh,
        scorer: SyncScorer | None = None,
    ) -> None:
        self._renderer, self._folder, self._mesh, self._scorer = renderer, folder, mesh, scorer
        self._clip_truths: dict[int, ClipTruth] = {}

    def clip(self, row: int) -> ClipMetrics:
        """Measure one clip painted anew from its own upper halves and one resting frame."""
        truth, mel = self._truth(row), self._folder.mel[row]
        rendered = self._render(truth.crops, truth.reference, mel)
        points = points_of(rendered, truth.where, self._mesh)
        scorer, name = self._scorer, self._folder.names[row]
        return ClipMetrics(
            name,
            compare_pictures(rendered, truth.crops, truth.reference),
            compare_lips(points, truth.points, truth.rest_points),
            scorer.sync(rendered, mel, MEASURED[0]) if scorer else None,
            scorer.sync(truth.crops, mel, MEASURED[0]) if scorer else None,
        )

    def still(self, row: int) -> StillMetrics:
        """Measure what the clip's resting frame does in speech and while nobody speaks.

        The sounds are made up anew for every clip, the same on every run.
        """
        truth, mel = self._truth(row), self._folder.mel[row]
        rng = np.random.default_rng((7, row))
        film = np.broadcast_to(truth.reference, truth.crops.shape)
        points = self._see_still(self._render(film, truth.reference, mel), truth)
        spoken = float(metrics.lip_gap(points).var())
        held = self._render_still(truth, vowel(rng))
        calm = np.sort(metrics.changes(truth.crops))
        return StillMetrics(
            self._folder.names[row],
            compare_lips(points, truth.points, truth.rest_points),
            self._rest(truth, silence(), spoken),
            self._rest(truth, room_noise(rng), spoken),
            self._rest(truth, music(rng), spoken),
            float(metrics.changes(held).mean()),
            float(calm[: round(_CALM_SHARE * len(calm))].mean()),
        )

    def rendered(self, row: int) -> NDArray[np.uint8]:
        """Return the (T, 96, 96, 3) crops of ``MEASURED`` as the network paints them."""
        truth = self._truth(row)
        return self._render(truth.crops, truth.reference, self._folder.mel[row])

    def truth(self, row: int) -> ClipTruth:
        """Return what is known of a clip."""
        return self._truth(row)

    def _rest(self, truth: ClipTruth, mel: Float32, spoken: float) -> RestMetrics:
        points = self._see_still(self._render_still(truth, mel), truth)
        gap, own = metrics.lip_gap(points), float(metrics.lip_gap(truth.rest_points)[0])
        eyes = float(metrics.eye_distance(truth.rest_points)[0])
        return RestMetrics(
            float(gap.var()) / max(spoken, 1e-12), 100.0 * (float(gap.mean()) - own) / eyes
        )

    def _render_still(self, truth: ClipTruth, mel: Float32) -> NDArray[np.uint8]:
        film = np.broadcast_to(truth.reference, (len(_SOUND_FRAMES), *truth.reference.shape))
        return self._render(film, truth.reference, mel, _SOUND_FRAMES)

    def _render(
        self,
        upper: NDArray[np.uint8],
        reference: Image,
        mel: Float32,
        frames: Sequence[int] = MEASURED,
    ) -> NDArray[np.uint8]:
        windows = windows_of(mel, frames, self._renderer.timing)
        return self._renderer.render(upper, reference, windows)

    def _see_still(self, rendered: NDArray[np.uint8], truth: ClipTruth) -> Float32:
        where = np.broadcast_to(truth.rest_where[0], (len(rendered), *truth.rest_where.shape[1:]))
        return points_of(rendered, where, self._mesh)

    def _truth(self, row: int) -> ClipTruth:
        if row not in self._clip_truths:
            frames, all_points = list(MEASURED), self._folder.points[row]
            crops, where = self._folder.crops[row][frames], all_points[frames]
            rest = resting_frame(all_points)
            reference = np.array(self._folder.crops[row][rest], np.uint8)
            rest_where = all_points[[rest]]
            tracked = points_of(crops, where, self._mesh)
            rested = points_of(reference[None], rest_where, self._mesh)
            self._clip_truths[row] = ClipTruth(crops, where, tracked, reference, rest_where, rested)
        return self._clip_truths[row]


def points_of(crops: NDArray[np.uint8], where: Float32, mesh: FaceMesh) -> Float32:
    """Find the mesh in (T, 96, 96, 3) crops: (T, 468, 2) in crop sizes.

    ``where`` is (T, 468, 2) in crop sizes and says where the face is.
    """
    meshes = []
    for crop, place in zip(crops, where, strict=True):
        large = cv2.resize(crop, None, fx=2.0, fy=2.0, interpolation=cv2.INTER_CUBIC)
        region = region_of_points(place * np.float32(2 * FACE_SIZE))
        meshes.append(mesh.landmarks(np.asarray(large, np.uint8), region).points)
    return np.asarray(np.stack(meshes) / np.float32(2 * FACE_SIZE), np.float32)


def resting_frame(points: Float32) -> int:
    """Return the frame of a clip whose lip gap is a typical closed one."""
    order = np.argsort(metrics.lip_gap(points))
    return int(order[len(order) // 10])


def compare_pictures(
    rendered: NDArray[np.uint8], truth: NDArray[np.uint8], reference: Image
) -> PictureMetrics:
    """Compare the lower halves of (T, 96, 96, 3) crops, and the reference's with the truth's."""
    pairs = list(zip(rendered[:, _HALF:], truth[:, _HALF:], strict=True))
    own, rest = reference[_HALF:], reference[None]
    sharp, fine = (max(of(rest), 1e-6) for of in (metrics.sharpness, metrics.detail))
    return PictureMetrics(
        psnr_db=float(np.mean([metrics.psnr(a, b) for a, b in pairs])),
        copy_psnr_db=float(np.mean([metrics.psnr(own, b) for _, b in pairs])),
        ssim=float(np.mean([metrics.ssim(a, b) for a, b in pairs])),
        copy_ssim=float(np.mean([metrics.ssim(own, b) for _, b in pairs])),
        brightness_correlation=metrics.correlation(
            metrics.brightness(rendered), metrics.brightness(truth)
        ),
        sharpness=metrics.sharpness(rendered) / sharp,
        truth_sharpness=metrics.sharpness(truth) / sharp,
        detail=metrics.detail(rendered) / fine,
        truth_detail=metrics.detail(truth) / fine,
    )


def compare_lips(rendered: Float32, truth: Float32, reference: Float32) -> LipMetrics:
    """Compare the lips of (T, 468, 2) points, and those of the reference (1, 468, 2)."""
    gap, true_gap = metrics.lip_gap(rendered), metrics.lip_gap(truth)
    still = np.repeat(reference, len(truth), 0)
    lags = metrics.lag_correlations(gap, true_gap)
    return LipMetrics(
        gap_correlation=metrics.correlation(gap, true_gap),
        gap_spread=float(gap.std()) / max(float(true_gap.std()), 1e-6),
        gap_offset=metrics.peak(lags),
        gap_peak=max(lags.values()),
        lmd_percent=metrics.landmark_distance(rendered, truth),
        copy_lmd_percent=metrics.landmark_distance(still, truth),
        lve_percent=metrics.lip_vertex_error(rendered, truth),
        copy_lve_percent=metrics.lip_vertex_error(still, truth),
    )


_FRAMES = range(4, len(MEASURED) - 4, 6)
"""Places among the measured frames that are shown."""
_LARGER = 2


def make_sheet(evaluation: Evaluation, rows: Sequence[int]) -> Image:
    """Return a picture: two strips for each clip, the reference at their left ends."""
    strips = []
    for row in rows:
        truth, frames = evaluation.truth(row), list(_FRAMES)
        rendered = evaluation.rendered(row)
        strips.append(_strip("truth", truth.reference, truth.crops[frames]))
        strips.append(_strip("painted", truth.reference, rendered[frames]))
    return np.concatenate(strips, 0)


def _strip(label: str, reference: Image, crops: NDArray[np.uint8]) -> Image:
    strip = np.concatenate([reference, *crops], 1)
    large = cv2.resize(strip, None, fx=_LARGER, fy=_LARGER, interpolation=cv2.INTER_CUBIC)
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(large, label, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, width)
    return np.asarray(large, np.uint8)


_CHORDS = ((57, 60, 64), (53, 57, 60), (48, 52, 55), (55, 59, 62))
"""Am, F, C, G as MIDI notes: one each half second."""
_BEAT = MODEL_RATE // 4
"""Samples from one stroke of the drums to the next: 120 crotchets a minute, in quavers."""
_FORMANTS = ((700.0, 110.0, 1.0), (1220.0, 120.0, 0.5), (2600.0, 160.0, 0.2))
"""Centre and width in hertz, and height, of an open "a" (Peterson and Barney 1952, men)."""


def silence() -> Float32:
    """Return the (80, 241) mel of three seconds of digital silence."""
    return np.full((BANDS, COLUMNS), SILENCE, np.float32)


def room_noise(rng: np.random.Generator) -> Float32:
    """Return the mel of three seconds of a quiet room: 1/f noise at -60 to -35 dB full scale."""
    level = 10.0 ** (rng.uniform(-60.0, -35.0) / 20.0)
    return _mel_at(_coloured(rng, SAMPLES), level)


def music(rng: np.random.Generator) -> Float32:
    """Return the mel of three seconds of plucked chords, a bass and drums at -20 dB; no voice."""
    sound = np.zeros(SAMPLES)
    shift = int(rng.integers(-4, 5))
    order = rng.permutation(len(_CHORDS))
    for number, start in enumerate(range(0, SAMPLES, 2 * _BEAT)):
        notes = _CHORDS[order[number % len(order)]]
        for note in (*notes, notes[0] - 24, notes[1] + 12):
            _add(sound, start, _pluck(440.0 * 2.0 ** ((note + shift - 69) / 12.0)))
    for number, start in enumerate(range(0, SAMPLES, _BEAT)):
        _add(sound, start, _drum(rng) if number % 2 == 0 else 0.6 * _cymbal(rng))
    return _mel_at(sound, 0.1)


def vowel(rng: np.random.Generator) -> Float32:
    """Return the mel of three seconds of a sung "a" that holds its pitch and loudness."""
    pitch = rng.uniform(100.0, 220.0)
    seconds = np.arange(SAMPLES) / MODEL_RATE
    sound = np.zeros(SAMPLES)
    for harmonic in range(1, int(7000.0 / pitch)):
        hertz = harmonic * pitch
        height = sum(g / (1.0 + ((hertz - f) / w) ** 2) for f, w, g in _FORMANTS)
        sound += height * np.sin(2 * np.pi * hertz * seconds + rng.uniform(0, 2 * np.pi))
    return _mel_at(sound, 0.1)


def _mel_at(sound: NDArray[np.float64], level: float) -> Float32:
    """Scale a sound to a root mean square and return its mel."""
    loud = float(np.sqrt(np.mean(sound**2)))
    return mel_spectrogram(np.clip(sound * (level / loud), -1.0, 1.0).astype(np.float32))


def _coloured(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return noise whose power falls with frequency."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1.0 / MODEL_RATE)
    return np.asarray(np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, 30.0)), count))


def _pluck(hertz: float) -> NDArray[np.float64]:
    seconds = np.arange(3 * _BEAT) / MODEL_RATE
    harmonics = range(1, min(9, int(7500.0 / hertz)) + 1)
    tones = [np.sin(2 * np.pi * hertz * k * seconds) * np.exp(-k * 1.5 * seconds) / k
             for k in harmonics]  # fmt: skip
    return np.asarray(np.sum(tones, 0) * np.minimum(1.0, seconds / 0.004))


def _drum(rng: np.random.Generator) -> NDArray[np.float64]:
    seconds = np.arange(_BEAT) / MODEL_RATE
    fall = 50.0 + 90.0 * np.exp(-seconds / 0.03)
    body = np.sin(2 * np.pi * np.cumsum(fall) / MODEL_RATE) * np.exp(-seconds / 0.08)
    return np.asarray(3.0 * body + 0.5 * rng.standard_normal(_BEAT) * np.exp(-seconds / 0.005))


def _cymbal(rng: np.random.Generator) -> NDArray[np.float64]:
    seconds = np.arange(_BEAT) / MODEL_RATE
    hiss = np.diff(rng.standard_normal(_BEAT + 1))
    return np.asarray(hiss * np.exp(-seconds / 0.04))


def _add(sound: NDArray[np.float64], start: int, stroke: NDArray[np.float64]) -> None:
    stop = min(len(sound), start + len(stroke))
    sound[start:stop] += stroke[: stop - start]
