"""Write the mouth graph in lower precisions, and say how much the picture changes.

What must stay in fp32 is found by measuring: the int8 graph is compared with torch on faces and
speech it was not calibrated on, and while it is too far off, the convolution whose rounding costs
most is given back.

In int8 convolutions have 8-bit inputs and weights, as QuantizeLinear pairs (QDQ). Weights are
symmetric, a scale for each channel that comes out; inputs have one scale each and are unsigned
after a ReLU, signed where they can be negative. Zero is at 0 in both, the one place where
TensorRT reads it. Whoever takes such an input takes the 8-bit form, also the sum of a residual:
then OpenVINO adds, applies the ReLU and rounds in one pass. (ONNX Runtime's own quantiser rounds
before the sum as well: 1.1 dB less, and slower.)

Ranges are taken from real faces and speech. A folder of the user's may hold films of talking
people, or pictures of faces and sounds; without one, the avatar that comes with lipstream and
speech made by espeak-ng stand in.
"""

import contextlib
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lipstream.audio.mel import mel_columns
from lipstream.avatar.pack import Avatar
from lipstream.errors import BackendUnavailable, FaceNotFound, InputError, MediaError
from lipstream.face.crop import cut_crop, fit_crop
from lipstream.face.tracker import FaceTracker
from lipstream.inference.backends import available_backends, open_backend
from lipstream.inference.kernels import kernels_run_here
from lipstream.inference.kernels.plan import KernelPlan, save_plan
from lipstream.timing import MODEL_RATE, Timing
from lipstream.types import Array, Float32
from lipstream_export.kernel_plans import make_plan
from lipstream_export.onnx_graphs import constants_of, drop_unused, find_reaches
from lipstream_models.corpora.grid_corpus import read_clip, read_sound, steady_crops, track_points
from lipstream_models.corpora.synthetic_sound import SENTENCES, SpeechSynthesizer, random_voice
from lipstream_models.networks.wav2lip import FaceGraph, MouthGraph, SplitNetwork

_KINDS = {"Conv": 0, "ConvTranspose": 1}
"""Operator -> axis of the channels that come out, in its weight."""
_VALUES_A_RUN = 20_000
_TRIED = np.array([1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4])
"""Shares of the largest value at which the range may end: clipping a few may cost less than a
coarse step for all."""


@dataclass(frozen=True, slots=True)
class Range:
    """How one tensor becomes 8 bits: level = round(value / scale)."""

    scale: float
    signed: bool
    """Whether levels are -128 to 127, not 0 to 255."""


def candidates(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes that can be quantised, in order."""
    weights = constants_of(model.graph)
    return [
        node.name
        for node in model.graph.node
        if node.op_type in _KINDS and node.input[1] in weights and _groups(node) == 1
    ]


def find_ranges(model: onnx.ModelProto, runs: Iterable[Mapping[str, Array]]) -> dict[str, Range]:
    """Run the graph on real inputs and choose the range of every input of a convolution."""
    chosen = set(candidates(model))
    names = list(dict.fromkeys(n.input[0] for n in model.graph.node if n.name in chosen))
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    have = {port.name for port in (*extended.graph.input, *extended.graph.output)}
    for name in names:
        if name not in have:
            extended.graph.output.append(onnx.ValueInfoProto(name=name))
    session = _open(extended)
    computed = [name for name in names if name not in {port.name for port in model.graph.input}]
    values_by_name: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for feeds in runs:
        outputs = session.run(computed, dict(feeds)) if computed else []
        values = dict(zip(computed, outputs, strict=True))
        for name in names:
            flat = np.asarray(values.get(name, feeds.get(name)), np.float32).ravel()
            # a stride that shares no factor with rows and channels sees them all
            thinned = flat[:: 2 * (len(flat) // _VALUES_A_RUN // 2) + 1]
            values_by_name[name].append(
                np.append(thinned, [flat.min(), flat.max()]).astype(np.float32)
            )
    return {name: _range(np.concatenate(parts)) for name, parts in values_by_name.items()}


def _range(values: NDArray[np.float32]) -> Range:
    """Return the range of least mean square error."""
    signed = bool(values.min() < -1e-6)
    low, high = (-128, 127) if signed else (0, 255)
    top = max(float(np.abs(values).max()), 1e-6)
    scales = top * _TRIED / high
    errors = [
        float(np.square(np.clip(np.round(values / s), low, high) * s - values).mean())
        for s in scales
    ]
    return Range(float(scales[int(np.argmin(errors))]), signed)


def quantise(
    model: onnx.ModelProto, ranges: Mapping[str, Range], fp32_nodes: Collection[str] = ()
) -> onnx.ModelProto:
    """Return the graph in int8; the nodes named in ``fp32_nodes`` stay in floating point."""
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    graph = quantised.graph
    weights = constants_of(graph)
    chosen = set(candidates(model)) - set(fp32_nodes)
    nodes = [node for node in graph.node if node.name in chosen]
    pairs = {name: _pair(graph, name, ranges[name]) for name in {n.input[0] for n in nodes}}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in pairs and not (place == 0 and node.name in fp32_nodes):
                node.input[place] = f"{name}_rounded"
    unpacked = [_pack_weight(graph, node, weights[node.input[1]]) for node in nodes]
    ordered = [*unpacked, *(n for port in graph.input for n in pairs.get(port.name, ()))]
    for node in graph.node:
        ordered.append(node)
        ordered += [one for name in node.output for one in pairs.get(name, ())]
    del graph.node[:]
    graph.node.extend(ordered)
    drop_unused(graph)
    onnx.checker.check_model(quantised)
    return quantised


def _pair(graph: onnx.GraphProto, name: str, chosen: Range) -> list[onnx.NodeProto]:
    """Return the two nodes that round a tensor to 8 bits and back, their constants added."""
    scale, zero = f"{name}_scale", f"{name}_zero"
    graph.initializer.append(numpy_helper.from_array(np.array(chosen.scale, np.float32), scale))
    nothing = np.array(0, np.int8 if chosen.signed else np.uint8)  # its type is the levels'
    graph.initializer.append(numpy_helper.from_array(nothing, zero))
    return [
        helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}_levels"]),
        helper.make_node("DequantizeLinear", [f"{name}_levels", scale, zero], [f"{name}_rounded"]),
    ]


def _pack_weight(graph: onnx.GraphProto, node: onnx.NodeProto, weight: Array) -> onnx.NodeProto:
    """Store a weight in 8 bits and return the node that unpacks it."""
    axis = _KINDS[node.op_type]
    others = tuple(k for k in range(weight.ndim) if k != axis)
    scale = np.maximum(np.abs(weight).max(others) / 127, 1e-12).astype(np.float32)
    spread = scale.reshape([-1 if k == axis else 1 for k in range(weight.ndim)])
    levels = np.clip(np.round(weight / spread), -127, 127).astype(np.int8)
    names = [f"{node.name}_weight_{part}" for part in ("levels", "scale", "zero")]
    for name, array in zip(names, (levels, scale, np.zeros(len(scale), np.int8)), strict=True):
        graph.initializer.append(numpy_helper.from_array(array, name))
    node.input[1] = f"{node.name}_weight_rounded"
    return helper.make_node("DequantizeLinear", names, [node.input[1]], axis=axis)


def _groups(node: onnx.NodeProto) -> int:
    return next((int(one.i) for one in node.attribute if one.name == "group"), 1)


def _open(model: onnx.ModelProto) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph in float16 within, float32 at its rims.

    Where a picture is sampled, coordinates stay in float32: 11 bits place a pixel of 96 to a tenth.
    """
    from onnxruntime.transformers.float16 import (  # noqa: PLC0415  imports much
        DEFAULT_OP_BLOCK_LIST,
        convert_float_to_float16,
    )

    blocked = [*DEFAULT_OP_BLOCK_LIST, "GridSample"]
    half: onnx.ModelProto = convert_float_to_float16(
        model, keep_io_types=True, op_block_list=blocked
    )
    assert all(port.type.tensor_type.elem_type != TensorProto.FLOAT16 for port in half.graph.input)
    return half


_FILMS = {".avi", ".mkv", ".mov", ".mp4", ".mpg", ".webm"}
_PICTURES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}
_SOUNDS = {".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"}
_MOST_FILES = 16
_FRAMES_A_FILE = 12
_FPS = Fraction(25)


@dataclass(frozen=True, slots=True)
class Samples:
    """Faces and the sound heard with them: _FRAMES_A_FILE moments of one file after another."""

    crops: NDArray[np.uint8]
    """(N, S, S, 3) uint8 BGR."""
    mels: Float32
    """(N, 1, 80, columns) float32."""
    origin: str
    """What they are, for a report."""

    def split(self) -> tuple["Samples", "Samples"]:
        """Return about two thirds to quantise with, and the rest to judge on.

        The two are of different files, unless there is only one.
        """
        cut = len(self.crops) * 2 // 3
        cut = cut // _FRAMES_A_FILE * _FRAMES_A_FILE or cut
        return (
            Samples(self.crops[:cut], self.mels[:cut], self.origin),
            Samples(self.crops[cut:], self.mels[cut:], self.origin),
        )


def collect_samples(network: SplitNetwork, folder: Path | None) -> Samples:
    """Gather samples in the shapes a network takes.

    Raises InputError when the folder holds neither films with a face nor pictures and sounds, and
    when there is no folder and no espeak-ng.
    """
    if folder is None:
        return _own_samples(network)
    if not folder.is_dir():
        raise InputError(f"--calibrate {folder}: there is no such folder")
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    parts = list(_of_films(network, _spread([f for f in files if f.suffix.lower() in _FILMS])))
    if not parts:
        parts = list(_of_pictures(network, files))
    if not parts:
        raise InputError(
            f"--calibrate {folder}: no film of a talking face there, nor pictures and sounds"
        )
    crops = np.concatenate([part.crops for part in parts])
    mels = np.concatenate([part.mels for part in parts])
    return Samples(crops, mels, f"{len(crops)} moments of {folder.name}")


def _spread(files: Sequence[Path]) -> list[Path]:
    """Return at most _MOST_FILES of them, evenly spread."""
    places = np.linspace(0, len(files) - 1, min(len(files), _MOST_FILES)).round().astype(int)
    return [files[place] for place in places]


def _of_films(network: SplitNetwork, files: Sequence[Path]) -> Iterator[Samples]:
    with FaceTracker.open() as tracker:
        for file in files:
            try:
                film = read_clip(file)
                affines = steady_crops(track_points(film.frames, tracker))
            except (MediaError, FaceNotFound):
                continue
            moments = np.linspace(4, len(film.frames) - 8, _FRAMES_A_FILE).astype(int)
            crops = [cut_crop(film.frames[k], affines[k], network.face_size) for k in moments]
            yield Samples(np.stack(crops), _windows(network, film.sound, moments), file.name)


def _of_pictures(network: SplitNetwork, files: Sequence[Path]) -> Iterator[Samples]:
    pictures = _spread([file for file in files if file.suffix.lower() in _PICTURES])
    sounds = _spread([file for file in files if file.suffix.lower() in _SOUNDS])
    if not sounds:
        return
    with FaceTracker.open() as tracker:
        for number, file in enumerate(pictures):
            image = cv2.imread(str(file), cv2.IMREAD_COLOR)
            tracker.reset()
            face = None if image is None else tracker.step(np.asarray(image, np.uint8))
            if face is None:
                continue
            picture = np.asarray(image, np.uint8)
            crop = cut_crop(picture, fit_crop(face.points), network.face_size)
            sound = read_sound(sounds[number % len(sounds)])
            mels = _windows(network, sound, _moments(sound))
            yield Samples(np.repeat(crop[None], len(mels), 0), mels, file.name)


def _own_samples(network: SplitNetwork) -> Samples:
    avatar, speaker, random = Avatar.open(), SpeechSynthesizer(), np.random.default_rng(1)
    every = avatar.cut_crops(network.face_size)
    crops, mels = [], []
    for _ in range(_MOST_FILES):
        utterance = speaker.say(str(random.choice(SENTENCES)), random_voice(random))
        sound = utterance.sound
        mels.append(_windows(network, sound, _moments(sound)))
        crops.append(every[random.integers(0, len(every), len(mels[-1]))])
    origin = f"avatar {avatar.name} and made-up speech"
    return Samples(np.concatenate(crops), np.concatenate(mels), origin)


def _moments(sound: Float32) -> NDArray[np.intp]:
    frames = len(sound) * 25 // MODEL_RATE
    return np.linspace(0, max(0, frames - 8), _FRAMES_A_FILE).astype(np.intp)


def _windows(network: SplitNetwork, sound: Float32, moments: NDArray[np.intp]) -> Float32:
    """Return (len(moments), 1, 80, columns): the mel windows of frames at 25 a second."""
    timing = Timing(MODEL_RATE, _FPS, network.mel_columns, network.window_start_ms)
    spans = [timing.mel_span(int(moment)) for moment in moments]
    before = max(0, -min(span.start for span in spans))
    after = max(0, max(span.stop for span in spans) - len(sound))
    padded = np.pad(sound, (before, after)).astype(np.float32)
    windows = [mel_columns(padded[span.start + before : span.stop + before]) for span in spans]
    return np.stack(windows)[:, None]


LEAST_PSNR_DB = {"fp32": 60.0, "fp16": 50.0, "bf16": 45.0, "int8": 36.0}
"""Least PSNR against torch float32, on real faces and speech."""
_BATCH = 6
_SEARCH_SAMPLES = 12


@dataclass(frozen=True, slots=True)
class Lowered:
    """A graph in a lower precision."""

    model: onnx.ModelProto
    fp32_nodes: tuple[str, ...]
    """Names of the convolutions left in fp32, those that cost most first."""
    psnr_db: float
    """On the samples held out."""


@dataclass(frozen=True, slots=True)
class ReferencePictures:
    """What torch paints in float32 for some samples."""

    feeds: tuple[dict[str, Array], ...]
    """Inputs of the mouth graph, batch by batch."""
    mouths: tuple[NDArray[np.uint8], ...]


def reference_pictures(network: SplitNetwork, samples: Samples) -> ReferencePictures:
    """Run the network itself."""
    feeds, mouths = [], []
    for at in range(0, len(samples.crops), _BATCH):
        crops = torch.from_numpy(samples.crops[at : at + _BATCH])
        mel = torch.from_numpy(samples.mels[at : at + _BATCH])
        with torch.no_grad():
            features = FaceGraph(network)(crops)
            mouths.append(MouthGraph(network)(mel, *features).numpy())
        named = zip(network.feature_names, features, strict=True)
        feeds.append({"mel": mel.numpy(), **{n: np.ascontiguousarray(f) for n, f in named}})
    return ReferencePictures(tuple(feeds), tuple(mouths))


def psnr_db(
    path: Path, truth: ReferencePictures, backend: str, precision: str
) -> tuple[float, float]:
    """Return the PSNR, dB, and the largest error, levels, of a mouth graph over all samples."""
    squares: list[float] = []
    worst = 0.0
    # one thread: on shared cores several wait for each other
    with contextlib.closing(open_backend(path, backend, 1, precision)) as graph:
        for feeds, mouth in zip(truth.feeds, truth.mouths, strict=True):
            error = np.abs(mouth.astype(np.float32) - graph.run(feeds)["mouth"])
            squares.append(float(np.square(error).mean()))
            worst = max(worst, float(error.max()))
    mean = float(np.mean(squares))
    return (float("inf") if mean == 0 else 10 * float(np.log10(255**2 / mean))), worst


def lower(
    mouth: Path,
    network: SplitNetwork,
    samples: Samples,
    precision: str,
    *,
    wanted_db: float = LEAST_PSNR_DB["int8"],
) -> Lowered:
    """Return ``mouth`` in fp16 or int8. Raises BackendUnavailable without a runtime to measure."""
    if not available_backends():
        raise BackendUnavailable("--precision needs a runtime: pip install onnxruntime")
    model = onnx.load(mouth)
    calibration, held_out = samples.split()
    truth = reference_pictures(network, held_out)
    if precision == "fp16":
        half = to_half(model)
        return Lowered(half, (), _measure(half, truth))
    ranges = find_ranges(model, reference_pictures(network, calibration).feeds)
    lowered = Lowered(quantise(model, ranges), (), 0.0)
    psnr = _measure(lowered.model, truth)
    order: list[str] = []
    fp32_nodes: list[str] = []
    while psnr < wanted_db and len(fp32_nodes) < len(candidates(model)):
        order = order or _costliest(model, ranges, _first(truth, _SEARCH_SAMPLES))
        fp32_nodes.append(order.pop(0))
        lowered = Lowered(quantise(model, ranges, fp32_nodes), tuple(fp32_nodes), 0.0)
        psnr = _measure(lowered.model, truth)
    return Lowered(lowered.model, lowered.fp32_nodes, psnr)


@dataclass(frozen=True, slots=True)
class Planned:
    """An int8 graph for our own kernels."""

    plan: KernelPlan
    psnr_db: float | None
    """On the samples held out; None where this processor cannot run it."""


def plan_mouth(mouth: Path, network: SplitNetwork, samples: Samples) -> Planned:
    """Return ``mouth`` as a plan; raises NotPlannable for a graph the kernels have no steps for."""
    model = onnx.load(mouth)
    calibration, held_out = samples.split()
    plan = make_plan(model, find_reaches(model, reference_pictures(network, calibration).feeds))
    if not kernels_run_here():
        return Planned(plan, None)
    with tempfile.TemporaryDirectory(prefix="lipstream-") as folder:
        path = Path(folder) / "mouth.plan"
        save_plan(path, plan)
        return Planned(
            plan, psnr_db(path, reference_pictures(network, held_out), "native", "int8")[0]
        )


def _costliest(
    model: onnx.ModelProto, ranges: dict[str, Range], truth: ReferencePictures
) -> list[str]:
    """Return the convolutions, those first whose return to fp32 gains most."""
    names = candidates(model)
    gains = [_measure(quantise(model, ranges, [name]), truth) for name in names]
    return [names[k] for k in np.argsort(gains)[::-1]]


def _measure(model: onnx.ModelProto, truth: ReferencePictures) -> float:
    backends: Sequence[str] = available_backends()
    backend = "openvino" if "openvino" in backends else backends[0]
    with tempfile.TemporaryDirectory(prefix="lipstream-") as folder:
        path = Path(folder) / "mouth.onnx"
        onnx.save_model(model, path)
        return psnr_db(path, truth, backend, "int8")[0]


def _first(truth: ReferencePictures, samples: int) -> ReferencePictures:
    count = max(1, samples // _BATCH)
    return ReferencePictures(truth.feeds[:count], truth.mouths[:count])
