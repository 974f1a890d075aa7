"""Our own int8 kernels as a backend: it reads a plan in place of an ONNX graph."""

import os
from pathlib import Path
from typing import Self

import numpy as np

from lipstream.errors import BackendUnavailable, InputError
from lipstream.inference.backends import Device, GraphForm, TensorInfo
from lipstream.inference.kernels import load_library
from lipstream.inference.kernels.frame import PackedWeights, PlanRunner
from lipstream.inference.kernels.plan import KernelPlan, load_plan
from lipstream.types import Array

_MOST_THREADS = 8
"""More share the small tensors in the middle of the network to no gain."""


class NativeBackend:
    """A mouth's plan, run picture by picture; a row's numbers do not depend on the others."""

    name = "native"
    library = "lipstream kernels 2"
    device: Device = "cpu"
    form: GraphForm = "plan"
    best_batch = 1

    def __init__(
        self, plan: KernelPlan, weights: PackedWeights, threads: int, frame_threads: int
    ) -> None:
        self._plan, self._weights, self._threads = plan, weights, threads
        self.frame_threads = frame_threads
        self.inputs = {n: TensorInfo((None, *s), "float32") for n, s in plan.inputs.items()}
        self.outputs = {"mouth": TensorInfo((None, *plan.output), "uint8")}
        self._frame = PlanRunner(plan, weights, threads)
        self._mouths = np.empty((1, *plan.output), np.uint8)

    @classmethod
    def open(
        cls, graph: Path, threads: int, precision: str = "fp32", frame_threads: int = 1
    ) -> Self:
        """Load the plan in the file ``graph``.

        Raises BackendUnavailable for another precision than int8 or on another processor,
        ModelError when the plan cannot be read.
        """
        if precision != "int8":
            raise BackendUnavailable(
                f"backend 'native' computes int8 alone, not {precision}: choose int8 or openvino"
            )
        load_library()
        plan = load_plan(graph)
        threads = 1 if frame_threads > 1 else _threads_of(threads)
        return cls(plan, PackedWeights(plan), threads, frame_threads)

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run once; the output is overwritten by the next run."""
        fed = {name: np.ascontiguousarray(feeds[name], np.float32) for name in self.inputs}
        rows = len(feeds["mel"])
        for name, shape in self._plan.inputs.items():
            if fed[name].shape != (rows, *shape):  # checked, for C reads it
                raise InputError(f"input {name} must be {(rows, *shape)}, not {fed[name].shape}")
        if len(self._mouths) != rows:
            self._mouths = np.empty((rows, *self._plan.output), np.uint8)
        for row in range(rows):
            self._frame.run({name: array[row] for name, array in fed.items()})
            self._mouths[row] = self._frame.output
        return {"mouth": self._mouths}

    def clone(self) -> Self:
        """Return another runner of the same weights, for one other thread."""
        return type(self)(self._plan, self._weights, self._threads, self.frame_threads)

    def close(self) -> None:
        """Free what it writes; the weights go with the last clone."""
        self._frame.close()


def _threads_of(wanted: int) -> int:
    return min(wanted or len(os.sched_getaffinity(0)), _MOST_THREADS)
