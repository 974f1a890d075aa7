"""Compare the converted face networks with OpenVINO reading the TensorFlow Lite files."""

from pathlib import Path

import numpy as np
import openvino

from lipstream.inference.backends import available_backends, open_backend
from lipstream_export.face_networks import NETWORKS, FaceNetwork
from lipstream_export.parity import FLOAT_RELATIVE, Parity


def compare_faces(wheel_files: Path, exported: Path) -> list[Parity]:
    """Return the largest error of each output, in every installed runtime; seeded noise goes in."""
    return [
        row
        for network in NETWORKS
        for backend in available_backends()
        for row in _compare(network, wheel_files, exported / network.made, backend)
    ]


def _compare(network: FaceNetwork, wheel_files: Path, made: Path, backend: str) -> list[Parity]:
    settings = {"INFERENCE_PRECISION_HINT": "f32"}  # its default is bf16 where the CPU has it
    path = str(wheel_files / network.file)
    original = openvino.Core().compile_model(path, "CPU", settings)
    shape = (1, *network.conversion.input.shape)
    image = np.random.default_rng(1).uniform(0.0, 1.0, shape).astype(np.float32)
    wanted = original({0: image})
    graph = open_backend(made, backend)
    found = graph.run({network.conversion.input.name: image})
    rows = []
    for name, port in network.conversion.outputs.items():
        expected = np.asarray(wanted[name]).reshape(1, *port.shape)
        error = float(np.abs(found[port.name] - expected).max())
        tolerance = FLOAT_RELATIVE * max(1.0, float(np.abs(expected).max()))
        rows.append(Parity(made.stem, port.name, backend, error, tolerance, ""))
    graph.close()
    return rows
