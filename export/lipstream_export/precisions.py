"""Write the mouth graph in lower precisions, and say how much the picture changes.

What must stay in fp32 is found by measuring: the int8 graph is compared with torch on faces and
speech it was not calibrated on, and while it is too far off, the convolution whose rounding costs
most is given back.
"""

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from lipstream.errors import BackendUnavailable
from lipstream.inference.backends import available_backends, open_backend
from lipstream.inference.kernels import kernels_run_here
from lipstream.inference.kernels.plan import KernelPlan, save_plan
from lipstream.types import Array
from lipstream_export.graph_tracing import find_reaches
from lipstream_export.kernel_plans import make_plan
from lipstream_export.quantization import Range, candidates, find_ranges, quantise, to_half
from lipstream_export.samples import Samples
from lipstream_models.networks.split import FaceGraph, MouthGraph, SplitNetwork

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
        raise BackendUnavailable("--precision needs a runtime: pip install 'lipstream[cpu]'")
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
