"""Write a lip network as a model folder of the second format, whose mouth is drawn by geometry."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from lipstream.audio.mel import BANDS
from lipstream.lips.decoder import DecoderSettings, Hysteresis
from lipstream.storage.atomic_files import sha256_of
from lipstream_export.folder import folder_written_whole
from lipstream_export.onnx_graphs import Signature, save_graph
from lipstream_models.networks.lip_network import COLUMNS, WINDOW_START_MS, LipNetwork, LipWindow
from lipstream_models.networks.loading import LoadedLipNetwork

LIPS, MANIFEST, FORMAT = "lips.onnx", "model.toml", 2
_SMALLEST_HALVED = 1024
"""Numbers in an array from which it is stored in 16 bits."""


@dataclass(frozen=True, slots=True)
class LoadedLips:
    """A lip network with its weights, how its answers are decoded, and what model.toml says."""

    network: LipNetwork
    decoder: DecoderSettings
    name: str
    version: str
    licence: str
    source: str


def with_plain_decoder(loaded: LoadedLipNetwork) -> LoadedLips:
    """Return a trained network with the thresholds that suit speech kept out of its training."""
    decoder = DecoderSettings(
        closing=loaded.directions["closing"],
        tuck=loaded.directions["tuck"],
        rounding=loaded.directions["rounding"],
        closed=Hysteresis(0.65, 0.4),
        tucked=Hysteresis(0.5, 0.4),
        soft=0.2,
        pressed=0.15,
        parted=0.45,
        tuck_share=0.85,
        rounding_gain=1.5,
    )
    words = (loaded.name, loaded.version, loaded.licence, loaded.source)
    return LoadedLips(loaded.network, decoder, *words)


def export_lips(loaded: LoadedLips, setting: str, target: Path) -> None:
    """Write the folder of one of ``lip_network.DELAYS``; raises InputError when it cannot be."""
    window = LipWindow(loaded.network, setting).eval()
    inputs = {"mel": torch.zeros(2, 1, BANDS, COLUMNS)}
    with folder_written_whole(target) as folder:
        path = folder / LIPS
        save_graph(window, Signature(inputs, ("classes", "measures")), path)
        onnx.save_model(stored_in_half(onnx.load(path)), path)
        (folder / MANIFEST).write_text(_manifest(loaded, setting, path), "utf-8")


def stored_in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose large weights stand in 16 bits and are cast to 32 when it is opened.

    Runtimes fold the casts, so that it computes in fp32 from half the file. Weights lose the bits
    beyond 11: 0.05 % of each.
    """
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    graph = halved.graph
    casts = []
    for weight in graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.dtype != np.float32 or array.size < _SMALLEST_HALVED:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(array.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return halved


def _manifest(loaded: LoadedLips, setting: str, graph: Path) -> str:
    entries: dict[str, object] = {
        "format": FORMAT,
        "paints": "shape",
        "name": loaded.name,
        "version": loaded.version,
        "licence": loaded.licence,
        "source": loaded.source,
        "mel_columns": COLUMNS,
        "window_start_ms": WINDOW_START_MS[setting],
    }
    files = {"path": graph.name, "sha256": sha256_of(graph)}
    lines = [
        *_toml(entries),
        *("", "[files.lips]", *_toml(files)),
        *("", "[decoder]", *_toml(_decoder_table(loaded.decoder))),
    ]
    return "\n".join(lines) + "\n"


def _decoder_table(settings: DecoderSettings) -> dict[str, object]:
    """Return what ``DecoderSettings.parse`` reads."""
    table: dict[str, object] = {}
    for name, value in asdict(settings).items():
        if isinstance(value, dict):
            table |= {f"{name}_{edge}": level for edge, level in value.items()}
        elif isinstance(value, np.ndarray):
            table[name] = [round(float(number), 4) for number in value]
        else:
            table[name] = value
    return table


def _toml(entries: Mapping[str, object]) -> list[str]:
    # JSON's numbers, strings and lists are TOML's too.
    return [f"{key} = {json.dumps(entry, ensure_ascii=False)}" for key, entry in entries.items()]
