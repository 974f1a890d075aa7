"""Write a lip-sync network as a model folder: model.toml, face.onnx, mouth.onnx."""

import json
from pathlib import Path

import torch

from lipstream.errors import InputError
from lipstream.mel import BANDS
from lipstream.model import FORMAT, sha256_of
from lipstream_export.folder import folder_written_whole
from lipstream_export.graphs import Signature, save_graph
from lipstream_export.networks import LoadedMouth
from lipstream_models.networks.split import FaceGraph, MouthGraph, SplitNetwork

FACE, MOUTH, WHOLE, MANIFEST = "face.onnx", "mouth.onnx", "whole.onnx", "model.toml"
_WINDOW_STARTS_MS = (-40, 0)


def export_mouth(
    loaded: LoadedMouth, target: Path, *, window_start_ms: int | None = None, whole: bool = False
) -> None:
    """Write the model folder, and with ``whole`` also the single graph other tools expect.

    ``window_start_ms`` replaces the network's own start of the mel window: -40 as Wav2Lip was
    trained, 0 as its scripts run it. Raises InputError when the folder cannot be written.
    """
    start = loaded.network.window_start_ms if window_start_ms is None else window_start_ms
    if start not in _WINDOW_STARTS_MS:
        raise InputError(f"--window-start-ms {start}: choose -40 (training) or 0 (inference)")
    with folder_written_whole(target) as folder:
        _save_split(loaded.network, folder)
        if whole:
            save_whole(loaded.network, folder / WHOLE)
        text = _manifest(loaded, start, folder)
        (folder / MANIFEST).write_text(text, "utf-8")


def _save_split(network: SplitNetwork, folder: Path) -> None:
    size, columns, names = network.face_size, network.mel_columns, network.feature_names
    face = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
    save_graph(FaceGraph(network), Signature({"face": face}, names), folder / FACE)
    with torch.no_grad():
        features = network.face_features(face)
    inputs = {"mel": torch.zeros(2, 1, BANDS, columns), **dict(zip(names, features, strict=True))}
    save_graph(MouthGraph(network), Signature(inputs, ("mouth",)), folder / MOUTH)


def save_whole(network: SplitNetwork, path: Path) -> None:
    """Write the classic graph: mel (N, 1, 80, 16), face (N, 6, S, S) -> frame (N, 3, rows, S)."""
    size, columns = network.face_size, network.mel_columns
    inputs = {"mel": torch.zeros(2, 1, BANDS, columns), "face": torch.zeros(2, 6, size, size)}
    save_graph(network, Signature(inputs, ("frame",)), path)


def _manifest(loaded: LoadedMouth, window_start_ms: int, folder: Path) -> str:
    network = loaded.network
    entries: dict[str, object] = {
        "format": FORMAT,
        "name": loaded.name,
        "version": loaded.version,
        "licence": loaded.licence,
        "source": loaded.source,
        "face_size": network.face_size,
        "mel_columns": network.mel_columns,
        "window_start_ms": window_start_ms,
        "mouth_rows": list(network.mouth_rows),
        "features": list(network.feature_names),
    }
    # JSON's numbers, strings and lists are TOML's too.
    lines = [f"{key} = {json.dumps(entry, ensure_ascii=False)}" for key, entry in entries.items()]
    for part, file in (("face", FACE), ("mouth", MOUTH), ("whole", WHOLE)):
        if (folder / file).is_file():
            digest = sha256_of(folder / file)
            lines += ["", f"[files.{part}]", f'path = "{file}"', f'sha256 = "{digest}"']
    return "\n".join(lines) + "\n"
