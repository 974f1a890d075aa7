"""Compare what was exported with the torch network it came from, in every runtime."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lipstream.audio.mel import BANDS
from lipstream.errors import BackendUnavailable
from lipstream.inference.backends import Backend, available_backends, open_backend
from lipstream.inference.kernels import kernels_run_here
from lipstream.types import Array
from lipstream_export.model_folder import (
    FACE,
    LOWERED,
    MANIFEST,
    MOUTH,
    PLAN,
    S3FD,
    WHOLE,
    ExportOptions,
)
from lipstream_models.networks.s3fd import STRIDES, S3fd, S3fdGraph
from lipstream_models.networks.wav2lip import (
    FaceGraph,
    MouthGraph,
    SplitNetwork,
    mask_and_join,
    to_pixels,
)

MOUTH_LEVELS = 1.0
"""One of 256: a float that lies on the edge of two levels may round either way."""
FLOAT_RELATIVE = 1e-4
"""Of the largest value of the output: sums of thousands of float32 terms in another order."""
_BATCH = 3


@dataclass(frozen=True, slots=True)
class Parity:
    """One output of one graph in one runtime."""

    graph: str
    output: str
    backend: str
    error: float
    """Largest absolute difference from torch float32."""
    tolerance: float
    unit: str
    psnr_db: float | None = None
    """Of tensors, against torch float32; None where numbers are compared."""
    least_db: float = 0.0

    @property
    def holds(self) -> bool:
        """Return whether the error is within the tolerance; NaN never is."""
        if self.psnr_db is not None:
            return self.psnr_db >= self.least_db
        return self.error <= self.tolerance

    @property
    def expected(self) -> str:
        """What the PSNR must reach, in words."""
        return f"{self.least_db:g} dB"


def compare_mouth(network: SplitNetwork, folder: Path, backend: str | None = None) -> list[Parity]:
    """Compare the graphs of a model folder, in every installed runtime or the one named.

    The first row says whether the split network paints what the whole one does.
    """
    faces, mel = _faces_and_mel(network)
    with torch.no_grad():
        features = dict(zip(network.feature_names, FaceGraph(network)(faces), strict=True))
        mouth = MouthGraph(network)(mel, *features.values())
    rows = [_compare_halves(network, faces, mel)]
    for name in _backends(backend):
        rows += _compare(folder / FACE, name, {"face": faces}, features)
        rows += _compare(folder / MOUTH, name, {"mel": mel, **features}, {"mouth": mouth})
        if (folder / WHOLE).is_file():
            rows += _compare_whole(network, folder / WHOLE, name)
    return rows


def judge_pictures(network: SplitNetwork, folder: Path, options: ExportOptions) -> list[Parity]:
    """Compare what each precision and runtime paints on real faces and speech, held out."""
    from lipstream_export.precisions import LEAST_PSNR_DB, psnr_db, reference_pictures  # noqa: PLC0415

    if options.samples is None:
        return []
    truth = reference_pictures(network, options.samples.split()[1])
    rows = []
    for precision in dict.fromkeys(("fp32", *options.precisions)):
        path = folder / (f"mouth_{precision}.onnx" if precision in LOWERED else MOUTH)
        graphs = dict.fromkeys(_backends(None), path)
        if precision == "bf16":
            graphs = {"openvino": path} if "openvino" in graphs else {}
        elif precision == "int8" and (folder / PLAN).is_file() and kernels_run_here():
            graphs["native"] = folder / PLAN
        for backend, path in graphs.items():
            actual, worst = psnr_db(path, truth, backend, precision)
            least = LEAST_PSNR_DB[precision]
            row = Parity(precision, "mouth", backend, worst, 255.0, "levels", actual, least)
            rows.append(row)
    return rows


def shortfalls(folder: Path) -> list[str]:
    """Say which graphs of a model folder lose more of the picture than is wanted."""
    from lipstream_export.precisions import LEAST_PSNR_DB  # noqa: PLC0415  needs a runtime

    files = tomllib.loads((folder / MANIFEST).read_text("utf-8"))["files"]
    measured = [(one, files[f"mouth_{one}"]) for one in LOWERED if f"mouth_{one}" in files]
    return [
        f"{entry['path']} is {entry['psnr_db']:.1f} dB from torch float32 on"
        f" {entry['measured_on']}, {LEAST_PSNR_DB[precision]:g} dB are wanted: look at its tensors"
        " before you use it, or give --calibrate more faces like yours"
        for precision, entry in measured
        if entry["psnr_db"] < LEAST_PSNR_DB[precision]
    ]


def compare_s3fd(network: S3fd, folder: Path, backend: str | None = None) -> list[Parity]:
    """Compare ``s3fd.onnx`` with the network it came from."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (1, 96, 128, 3), dtype=torch.uint8, generator=generator)
    names = [f"{kind}{level}" for level in range(STRIDES) for kind in ("score", "offset")]
    with torch.no_grad():
        outputs = dict(zip(names, S3fdGraph(network)(image), strict=True))
    rows: list[Parity] = []
    for name in _backends(backend):
        rows += _compare(folder / S3FD, name, {"image": image}, outputs)
    return rows


def _backends(expected: str | None) -> tuple[str, ...]:
    actual = available_backends() if expected is None else (expected,)
    if not actual:
        raise BackendUnavailable("--verify needs a runtime: pip install onnxruntime")
    return actual


def _faces_and_mel(network: SplitNetwork) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    size = network.face_size
    faces = torch.randint(0, 256, (_BATCH, size, size, 3), dtype=torch.uint8, generator=generator)
    shape = (_BATCH, 1, BANDS, network.mel_columns)
    return faces, torch.rand(shape, generator=generator) * 8.0 - 4.0  # the range of a mel


def _compare_halves(network: SplitNetwork, faces: Tensor, mel: Tensor) -> Parity:
    """Compare the split network with the mouth's rows of the whole one, both in torch."""
    top, bottom = network.mouth_rows
    with torch.no_grad():
        split = network.mouth_from(mel, *network.face_features(faces))
        frame = network(mel, mask_and_join(faces))
    rows = frame[:, :, top:bottom] if frame.shape[2] > bottom - top else frame
    return _parity("split", "mouth", "torch", (to_pixels(rows).numpy(), split.numpy()))


def _compare_whole(network: SplitNetwork, path: Path, backend: str) -> list[Parity]:
    faces, mel = _faces_and_mel(network)
    face = mask_and_join(faces)
    with torch.no_grad():
        frame = network(mel, face)
    return _compare(path, backend, {"mel": mel, "face": face}, {"frame": frame})


def _compare(
    path: Path, backend: str, feeds: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> list[Parity]:
    graph = open_backend(path, backend, threads=1)
    try:
        actual = _run(graph, feeds)
    finally:
        graph.close()
    # By place, not by name: OpenVINO may move an output's last operator and call it otherwise.
    pairs = zip(expected.items(), actual, strict=True)
    return [
        _parity(path.stem, name, backend, (tensor.numpy(), output))
        for (name, tensor), output in pairs
    ]


def _run(graph: Backend, feeds: Mapping[str, Tensor]) -> list[Array]:
    arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in feeds.items()}
    return [output.copy() for output in graph.run(arrays).values()]


def _parity(graph: str, output: str, backend: str, pair: tuple[Array, Array]) -> Parity:
    expected, actual = (array.astype(np.float64) for array in pair)
    error = (
        float(np.abs(expected - actual).max()) if expected.shape == actual.shape else float("inf")
    )
    if pair[0].dtype == np.uint8:
        return Parity(graph, output, backend, error, MOUTH_LEVELS, "levels of 255")
    scale = max(1.0, float(np.abs(expected).max()))
    return Parity(graph, output, backend, error, FLOAT_RELATIVE * scale, "")
