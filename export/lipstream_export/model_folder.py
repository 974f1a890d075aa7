"""Write a network as files: a lip-sync network as a model folder, S3FD as one graph."""

import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from lipstream.audio.mel import BANDS
from lipstream.errors import InputError
from lipstream.inference.kernels.plan import save_plan
from lipstream.inference.manifest import FORMATS
from lipstream.lips.decoder import DecoderSettings, Hysteresis
from lipstream.storage import sha256_of
from lipstream_export.onnx_graphs import Signature, save_graph
from lipstream_models.networks.lip_network import COLUMNS, WINDOW_START_MS, LipNetwork, LipWindow
from lipstream_models.networks.loading import LoadedLipNetwork, LoadedMouth
from lipstream_models.networks.s3fd import STRIDES, S3fd, S3fdGraph
from lipstream_models.networks.wav2lip import FaceGraph, MouthGraph, SplitNetwork


@contextmanager
def atomic_folder(target: Path) -> Generator[Path]:
    """Yield an empty folder to write into; its files reach ``target`` only when all went well.

    Files of the same names in ``target`` are replaced one by one, by renaming; others stay.
    Whatever goes wrong, the unfinished folder is removed. Raises InputError when ``target`` is a
    file or the disk cannot be written.
    """
    if target.exists() and not target.is_dir():
        raise InputError(f"cannot write into {target}: it is a file; name a folder with -o")
    unfinished: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        yield unfinished
        unfinished.chmod(0o755)
        if target.exists():
            _replace_files(unfinished, target)
        else:
            unfinished.rename(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot write {target}: {reason}; choose a writable folder") from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)


def _replace_files(unfinished: Path, target: Path) -> None:
    if not os.access(target, os.W_OK):
        raise PermissionError(13, "no permission to write", str(target))
    for file in sorted(unfinished.iterdir()):
        file.replace(target / file.name)


if TYPE_CHECKING:
    from lipstream_export.precisions import Samples

S3FD = "s3fd.onnx"
"""The face detector of Wav2Lip's scripts, for those who bring ``s3fd.pth``."""
FACE, MOUTH, WHOLE, MANIFEST = "face.onnx", "mouth.onnx", "whole.onnx", "model.toml"
PLAN = "mouth_int8.plan"
"""int8 for our own kernels; its part in the manifest is called after it."""
LOWERED = ("fp16", "int8")
"""Precisions that have a graph of their own."""
_WINDOW_STARTS_MS = (-40, 0)
_FORMAT = next(number for number, paints in FORMATS.items() if paints == "pixels")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What else a model folder is to hold."""

    window_start_ms: int | None = None
    """In place of the network's own start of the mel window: -40 as Wav2Lip was trained, 0 as its
    scripts run it."""
    whole: bool = False
    """Also the single graph other tools expect."""
    precisions: tuple[str, ...] = ()
    """fp16 and int8 are written besides fp32; bf16, a way to compute the fp32 graph, is judged."""
    samples: "Samples | None" = None
    """What int8 is calibrated and every precision judged on; needed for ``precisions``."""


def export_mouth(
    loaded: LoadedMouth,
    target: Path,
    options: ExportOptions | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Write the model folder; return the seconds that each precision with a graph took.

    Raises InputError when the folder cannot be written.
    """
    options, begun = options or ExportOptions(), clock()
    start = options.window_start_ms
    if start is None:
        start = loaded.network.window_start_ms
    elif start not in _WINDOW_STARTS_MS:
        raise InputError(f"--window-start-ms {start}: choose -40 (training) or 0 (inference)")
    with atomic_folder(target) as folder:
        _save_split(loaded.network, folder)
        seconds, notes = {"fp32": clock() - begun}, {}
        if options.whole:
            save_whole(loaded.network, folder / WHOLE)
        for precision in (one for one in options.precisions if one in LOWERED):
            begun = clock()
            notes[precision] = _save_lowered(loaded.network, folder, options, precision)
            seconds[precision] = clock() - begun
        if "int8" in options.precisions:
            notes["int8_plan"] = _save_plan(loaded.network, folder, options)
        text = _manifest(loaded, start, folder, notes)
        (folder / MANIFEST).write_text(text, "utf-8")
    return seconds


def _save_lowered(
    network: SplitNetwork, folder: Path, options: ExportOptions, precision: str
) -> list[str]:
    """Write the mouth graph in another precision; return the manifest's lines about it."""
    assert options.samples is not None, "a lower precision is judged on samples"
    from lipstream_export.precisions import lower  # noqa: PLC0415  needs a runtime

    lowered = lower(folder / MOUTH, network, options.samples, precision)
    onnx.save_model(lowered.model, folder / f"mouth_{precision}.onnx")
    return [
        f"psnr_db = {min(lowered.psnr_db, 99.0):.1f}",
        f"measured_on = {json.dumps(options.samples.origin)}",
        f"kept_fp32 = {json.dumps(lowered.fp32_nodes)}",
    ]


def _save_plan(network: SplitNetwork, folder: Path, options: ExportOptions) -> list[str]:
    """Write int8 for our own kernels, where they have steps for it and paint well enough."""
    assert options.samples is not None, "a lower precision is judged on samples"
    from lipstream_export.onnx_graphs import NotPlannable  # noqa: PLC0415
    from lipstream_export.precisions import LEAST_PSNR_DB, plan_mouth  # noqa: PLC0415  needs a runtime

    try:
        planned = plan_mouth(folder / MOUTH, network, options.samples)
    except NotPlannable as reason:
        log.info("no plan for the int8 kernels: %s", reason)
        return []
    measured_db = planned.psnr_db
    if measured_db is not None and measured_db < LEAST_PSNR_DB["int8"]:
        log.warning(
            "the int8 kernels paint %.1f dB from torch float32: no plan is written", measured_db
        )
        return []
    save_plan(folder / PLAN, planned.plan)
    if measured_db is None:
        log.warning("%s is not judged: this processor cannot run it; export where one can", PLAN)
        return []
    measured_on = json.dumps(options.samples.origin)
    return [f"psnr_db = {min(measured_db, 99.0):.1f}", f"measured_on = {measured_on}"]


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


def _manifest(
    loaded: LoadedMouth, window_start_ms: int, folder: Path, notes: dict[str, list[str]]
) -> str:
    network = loaded.network
    entries: dict[str, object] = {
        "format": _FORMAT,
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
    lowered = (f"mouth_{one}.onnx" for one in LOWERED)
    for file in (FACE, MOUTH, WHOLE, *lowered, PLAN):
        if (folder / file).is_file():
            part, digest = file.removesuffix(".onnx").replace(".", "_"), sha256_of(folder / file)
            lines += ["", f"[files.{part}]", f'path = "{file}"', f'sha256 = "{digest}"']
            lines += notes.get(part.removeprefix("mouth_"), [])
    return "\n".join(lines) + "\n"


def export_s3fd(network: S3fd, target: Path) -> None:
    """Write ``target/s3fd.onnx``."""
    outputs = [f"{kind}{level}" for level in range(STRIDES) for kind in ("score", "offset")]
    plane = {name: {1: f"h{name[-1]}", 2: f"w{name[-1]}"} for name in outputs if name[0] == "s"}
    boxes = {name: {2: f"h{name[-1]}", 3: f"w{name[-1]}"} for name in outputs if name[0] == "o"}
    example = torch.zeros(2, 160, 192, 3, dtype=torch.uint8)
    axes = {"image": {1: "H", 2: "W"}, **plane, **boxes}
    with atomic_folder(target) as folder:
        save_graph(S3fdGraph(network), Signature({"image": example}, outputs, axes), folder / S3FD)


LIPS, FORMAT = "lips.onnx", 2
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
        closed=Hysteresis(0.55, 0.5),
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
    with atomic_folder(target) as folder:
        path = folder / LIPS
        save_graph(window, Signature(inputs, ("classes", "measures")), path)
        onnx.save_model(stored_in_half(onnx.load(path)), path)
        (folder / MANIFEST).write_text(_lip_manifest(loaded, setting, path), "utf-8")


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


def _lip_manifest(loaded: LoadedLips, setting: str, graph: Path) -> str:
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
