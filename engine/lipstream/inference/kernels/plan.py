"""A plan: a mouth network written as steps of our kernels, with its weights, in one checked file.

Every step reads tensors and writes one. A tensor is height x width x channels int16 levels, of
which one is worth ``unit``; beside it may lie its 8-bit form, which ``quantize`` and
``quantize_f32`` write and ``igemm`` reads. Tensors have a border of zeros (BEFORE and AFTER
pixels), so that convolutions may read beyond the edge. ``lipstream export`` writes plans.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lipstream.errors import ModelError
from lipstream.inference.kernels import step_header
from lipstream.storage import MISSTATED, PackError, PackKind, read_pack, write_pack
from lipstream.types import Array

BEFORE, AFTER = 1, 2
"""Pixels of border above and left, below and right."""
LANES = 16
"""Channels a kernel takes at once."""
POINTS = 16
"""Products of a Winograd tile of 2 x 2 pixels."""
_MOST_LEVELS = 2**28
"""In a tensor with its border: the kernels count them in 32 bits."""
_KIND = PackKind(b"LIPPLAN\0", 2, "a plan of lipstream's kernels")
_DTYPES = {"weights": np.int8, "sums": np.int32, "scales": np.float32, "bias": np.float32}


@dataclass(frozen=True, slots=True)
class PlanTensor:
    """An array that steps write and read."""

    height: int
    width: int
    channels: int
    unit: float
    """What one level is worth."""


@dataclass(frozen=True, slots=True)
class OutputSlice:
    """Where in a tensor a step writes."""

    tensor: int
    channel: int = 0
    """First channel: what stands side by side in a tensor is joined."""
    row: int = 0
    column: int = 0
    stride: int = 1
    """Rows and columns from one pixel written to the next."""


@dataclass(frozen=True, slots=True)
class KernelStep:
    """One step; fields a kind has no use for keep their defaults."""

    kind: str
    """One of ``step_header().kinds``."""
    target: OutputSlice
    height: int
    """Of what is written, pixels; of what is loaded for ``convert`` and ``quantize_f32``."""
    width: int
    channels: int
    """That come out."""
    depth: int = 0
    """Channels that go in."""
    source: int = -1
    """Tensor read."""
    input: str = ""
    """Input of the network read, by ``convert`` and ``quantize_f32``."""
    stride: tuple[int, int] = (1, 1)
    """Rows and columns of the source from one pixel written to the next."""
    taps: tuple[tuple[int, int], ...] = ()
    """Row and column of each pixel read, against the pixel at (row, column) * stride; of
    ``winograd`` one, the corner of the first tile."""
    add: int = -1
    """Tensor added before the ReLU."""
    add_row: int = 0
    """Its row that is added to the first one written."""


@dataclass(frozen=True, slots=True)
class KernelPlan:
    """Pictures, steps, and the arrays of each step by name, in the order of the steps."""

    inputs: dict[str, tuple[int, ...]]
    """Input -> shape, the batch left out."""
    output: tuple[int, int, int]
    """Rows, columns and channels of the picture painted."""
    tensors: tuple[PlanTensor, ...]
    steps: tuple[KernelStep, ...]
    arrays: tuple[Mapping[str, Array], ...] = field(repr=False)


def save_plan(path: Path, plan: KernelPlan) -> None:
    """Write a plan; raises OSError."""
    header = {
        "inputs": plan.inputs,
        "output": plan.output,
        "tensors": [asdict(one) for one in plan.tensors],
        "steps": [asdict(one) for one in plan.steps],
    }
    sections = {
        f"{k} {name}": array for k, held in enumerate(plan.arrays) for name, array in held.items()
    }
    write_pack(path, _KIND, header, sections)


def load_plan(path: Path) -> KernelPlan:
    """Read a plan and check that no step leaves its tensors; raises ModelError."""
    try:
        pack = read_pack(path, _KIND)
        header = json.loads(pack.text)
        steps = tuple(_step(entry) for entry in header["steps"])
        plan = KernelPlan(
            inputs={str(name): tuple(map(int, shape)) for name, shape in header["inputs"].items()},
            output=tuple(map(int, header["output"])),  # type: ignore[arg-type]
            tensors=tuple(PlanTensor(**one) for one in header["tensors"]),
            steps=steps,
            arrays=tuple(
                {name: pack.section(header, f"{k} {name}") for name in _arrays_of(step)}
                for k, step in enumerate(steps)
            ),
        )
        check_plan(plan)
        kinds = [step.kind for step in steps]
        _need(kinds.index("sigmoid") == len(kinds) - 1, "what comes after the picture is painted")
    except PackError as error:
        raise ModelError(f"{path.name} {error}: export the model again") from error
    except MISSTATED as error:
        raise ModelError(f"{path.name} misstates {error}: export the model again") from error
    return plan


def _step(entry: dict[str, Any]) -> KernelStep:
    pairs = {
        "stride": tuple(map(int, entry["stride"])),
        "taps": tuple((int(y), int(x)) for y, x in entry["taps"]),
        "target": OutputSlice(**entry["target"]),
    }
    return KernelStep(**{**entry, **pairs})


def _arrays_of(step: KernelStep) -> dict[str, int]:
    """Return the names of a step's arrays and how many numbers they hold."""
    if step.kind == "sigmoid":
        return {"scales": 3 * step.depth, "bias": 3}
    if step.kind not in ("igemm", "winograd"):
        return {}
    points = POINTS if step.kind == "winograd" else 1
    products = POINTS if step.kind == "winograd" else len(step.taps)
    return {
        "weights": products * step.depth * step.channels,
        "sums": points * step.channels,
        "scales": points * step.channels,
        "bias": step.channels,
    }


def check_plan(plan: KernelPlan) -> None:
    """Raise ValueError where a step would read or write outside of what there is."""
    _need(_whole(plan.output) and len(plan.output) == 3 and min(plan.output) > 0, "output")
    for one in plan.tensors:
        sizes = (one.height, one.width, one.channels)
        _need(_whole(sizes) and min(sizes) > 0 and one.unit > 0, "a tensor")
        levels = (one.height + BEFORE + AFTER) * (one.width + BEFORE + AFTER) * one.channels
        _need(one.channels % 4 == 0 and levels <= _MOST_LEVELS, "a tensor")
    for k, step in enumerate(plan.steps):
        where = f"step {k} ({step.kind})"
        sizes = (step.height, step.width, step.channels)
        _need(_whole((*sizes, step.depth, step.source, step.add, step.add_row)), where)
        _need(
            _whole(astuple(step.target)) and step.kind in step_header().kinds and min(sizes) > 0,
            where,
        )
        for name, count in _arrays_of(step).items():
            array = plan.arrays[k][name]
            _need(array.dtype == _DTYPES[name] and array.size == count, f"{where}: {name}")
        _check_target(plan, step, where)
        _check_source(plan, step, where)
        if step.add >= 0:
            added = plan.tensors[step.add]
            first = step.target.row + step.add_row
            rows = range(first, first + _extent(step.height, step.target.stride))
            fits = rows.start >= 0 and rows.stop <= added.height
            across = step.target.column + _extent(step.width, step.target.stride)
            _need(fits and across <= added.width, f"{where}: add")
            _need(added.channels >= step.channels, f"{where}: add")


def _check_target(plan: KernelPlan, step: KernelStep, where: str) -> None:
    if step.kind == "sigmoid":
        _need((step.height, step.width, 3) == plan.output, f"{where}: output")
        return
    target = step.target
    _need(target.tensor >= 0 and min(target.row, target.column, target.channel) >= 0, where)
    tensor = plan.tensors[target.tensor]
    down = target.row + _extent(step.height, target.stride)
    across = target.column + _extent(step.width, target.stride)
    _need(down <= tensor.height and across <= tensor.width, f"{where}: target")
    _need(target.channel + step.channels <= tensor.channels, f"{where}: target")
    whole = step.kind in ("quantize_f32", "quantize") or step.channels % LANES == 0
    _need(target.stride > 0 and whole, f"{where}: channels")


def _check_source(plan: KernelPlan, step: KernelStep, where: str) -> None:
    if step.kind in ("convert", "quantize_f32", "quantize"):
        _need(step.depth == 0, f"{where}: depth")
    if step.kind in ("convert", "quantize_f32"):
        rows = (step.channels,) if step.kind == "convert" else (1,)
        _need(plan.inputs[step.input] == (*rows, step.height, step.width), f"{where}: {step.input}")
        return
    _need(step.source >= 0 and min(step.stride) > 0, f"{where}: source")
    read = plan.tensors[step.source]
    if step.kind == "quantize":
        _need(step.source == step.target.tensor, f"{where}: source")
        return
    unit = 4 if step.kind == "igemm" else LANES
    _need(0 < step.depth <= read.channels and step.depth % unit == 0, f"{where}: depth")
    _need(bool(step.taps) != (step.kind == "sigmoid"), f"{where}: taps")
    if step.kind == "winograd":
        _need(len(step.taps) == 1 and step.stride == (1, 1), f"{where}: taps")
    for y, x in step.taps or ((0, 0),):
        down = y + (step.height - 1) * step.stride[0] + _ring(step, step.height)
        across = x + (step.width - 1) * step.stride[1] + _ring(step, step.width)
        fits = min(y, x) >= -BEFORE and down < read.height + AFTER and across < read.width + AFTER
        _need(fits, f"{where}: taps")


def _ring(step: KernelStep, count: int) -> int:
    """Return how far beyond its last pixel a step reads: Winograd takes whole tiles."""
    return 2 + count % 2 if step.kind == "winograd" else 0


def _whole(numbers: Iterable[object]) -> bool:
    return all(isinstance(one, int) for one in numbers)


def _extent(count: int, stride: int) -> int:
    return (count - 1) * stride + 1


def _need(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(what)
