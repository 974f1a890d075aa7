"""Paint whole clips with a network to be measured: a checkpoint, or an exported model folder."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lipstream.audio.mel import SILENCE
from lipstream.errors import InputError
from lipstream.inference.manifest import read_manifest
from lipstream.inference.model import MouthModel
from lipstream.timing import MODEL_RATE, Timing
from lipstream.types import Float32, Image
from lipstream_models.corpora.grid_corpus import FACE_SIZE, FPS
from lipstream_models.networks.split import SplitNetwork, mask_and_join, to_pixels

_HALF = FACE_SIZE // 2
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
                f"{path} says how lips stand and paints no crop: name a model that paints pixels,"
                " as an exported Wav2Lip does"
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
