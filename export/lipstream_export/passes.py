"""What is done to an exported graph before it is written: fewer nodes, the same numbers."""

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper


def constants_of(graph: onnx.GraphProto) -> dict[str, NDArray[object]]:
    """Return the arrays that are written into a graph, by name."""
    found = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def fold_pads(graph: onnx.GraphProto) -> None:
    """Move zero padding into the convolutions that follow it, which pad by themselves.

    torch writes a Pad where a convolution's padding is not the same on both sides; quantised, it
    would stand between the convolution and its scale.
    """
    constants = constants_of(graph)
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        pad = makers.get(node.input[0]) if node.op_type == "Conv" else None
        if pad is None or pad.op_type != "Pad" or not _is_plain(pad, constants):
            continue
        before_after = [int(one) for one in constants[pad.input[1]].ravel()]  # type: ignore[call-overload]
        own = next(one for one in node.attribute if one.name == "pads")
        extra = [before_after[k] for k in (2, 3, 6, 7)]
        own.ints[:] = [a + b for a, b in zip(own.ints, extra, strict=True)]
        node.input[0] = pad.input[0]
    drop_unused(graph)


def _is_plain(pad: onnx.NodeProto, constants: dict[str, NDArray[object]]) -> bool:
    """Return whether a Pad adds a known number of zeros, to height and width alone."""
    modes = [one.s for one in pad.attribute if one.name == "mode"]
    if modes not in ([], [b"constant"]) or pad.input[1] not in constants:
        return False
    sizes = constants[pad.input[1]].ravel()
    value = constants.get(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else None
    return len(sizes) == 8 and not sizes[[0, 1, 4, 5]].any() and (value is None or not value.any())


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and weights whose result nobody takes."""
    while True:
        taken = {name for node in graph.node for name in node.input}
        taken |= {output.name for output in graph.output}
        kept = [node for node in graph.node if any(name in taken for name in node.output)]
        if len(kept) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(kept)
    for weight in [one for one in graph.initializer if one.name not in taken]:
        graph.initializer.remove(weight)
