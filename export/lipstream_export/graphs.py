"""Write a torch module as one self-contained ONNX file."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from lipstream_export.passes import tidy

OPSET = 17


@dataclass(frozen=True, slots=True)
class Signature:
    """What a graph takes and gives."""

    inputs: Mapping[str, Tensor]
    """Name -> example, in the order of the module's arguments; a batch of two or more."""
    outputs: Sequence[str]
    free_axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Name of an input or output -> axis -> its name; axis 0 of each is always free, ``N``."""


def save_graph(module: nn.Module, signature: Signature, path: Path) -> None:
    """Export the module, in evaluation mode and float32, and check the file written.

    The tracing exporter is used: it gives opset 17, which every runtime reads, with batch norms
    folded, and keeps the small constants that guard divisions (the newer one drops S3FD's 1e-10).
    """
    names = [*signature.inputs, *signature.outputs]
    axes = {name: {0: "N", **signature.free_axes.get(name, {})} for name in names}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that the tracing exporter is the older of the two
        torch.onnx.export(
            module.eval(),
            tuple(signature.inputs.values()),
            str(path),
            input_names=list(signature.inputs),
            output_names=list(signature.outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
            external_data=False,
        )
    model = onnx.load(path)
    tidy(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, path)
