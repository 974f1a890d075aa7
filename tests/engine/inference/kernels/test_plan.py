"""Plans that would leave their tensors, or say what cannot be: each is refused."""

import hashlib
import json
import struct
from dataclasses import replace

import numpy as np
import pytest

from engine.inference.kernels.toy_plans import PlanBuilder, needs_kernels
from engine.inference.kernels.wrong_plans import KIND, held, refusal, rewritten, says, tensor_says
from lipstream.errors import ModelError
from lipstream.inference.backends.native import NativeBackend
from lipstream.inference.kernels.plan import OutputSlice, load_plan, save_plan
from lipstream.storage import read_pack


def test_a_plan_written_again_unchanged_is_still_good(plan, path):
    """What is refused below is refused for what was changed."""
    rewritten(path, lambda header, sections: None)
    assert load_plan(path).steps == plan.steps


@pytest.mark.parametrize(
    "change",
    [
        says("igemm", taps=[[-2, 0]] * 9),
        says("igemm", taps=[[0, 3]] * 9),
        says("igemm", taps=[[0, 0]] * 8),
        says("igemm", taps=[]),
        says("igemm", taps=[[0]] * 9),
        says("igemm", taps=3),
        says("igemm", 1, taps=[[-2, 0], [0, 0]]),
        says("igemm", 1, taps=[[0, 0], [3, 0]]),
        says("igemm", 1, taps=[[0, 0], [0, 2**70]]),
        says("winograd", taps=[[-2, -1]]),
        says("winograd", taps=[[-1, 0]]),
        says("winograd", taps=[[-1, -1]] * 2),
        says("winograd", stride=[2, 1]),
        says("winograd", height=8),
        says("winograd", width=12),
    ],
)
def test_a_step_that_reads_beyond_the_border_is_refused(path, change):
    rewritten(path, change)
    assert "misstates" in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        says("winograd", at_row=1),
        says("winograd", at_column=1),
        says("winograd", at_row=-1),
        says("winograd", at_channel=-16),
        says("winograd", at_channel=16),
        says("igemm", at_channel=144),
        says("igemm", 4, at_row=2),
        says("igemm", 4, at_spread=3),
        says("igemm", at_spread=0),
        says("igemm", at_spread=-1),
        says("convert", at_channel=64),
        says("convert", at_row=1),
        says("quantize_f32", at_column=1),
        says("winograd", at_tensor=-1),
        says("winograd", at_tensor=99),
        says("winograd", at_tensor=0),
        says("quantize", at_tensor=0),
        says("sigmoid", height=14),
        says("sigmoid", width=21),
    ],
)
def test_a_step_that_writes_beyond_its_picture_is_refused(path, change):
    rewritten(path, change)
    assert "misstates" in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        says("igemm", 1, add=99),
        says("igemm", 4, add_row=1),
        says("igemm", 1, add_row=-1),
        says("igemm", 1, add=1),
        says("winograd", 1, add_row=2),
        says("winograd", 1, add_row=2**40),
        says("winograd", add=3),
    ],
)
def test_a_step_that_adds_what_is_not_there_is_refused(path, change):
    rewritten(path, change)
    assert "misstates" in refusal(path)


@pytest.mark.parametrize("place", [{"row": 1}, {"column": 1}])
def test_what_is_added_must_reach_to_where_it_is_written(place):
    """As a share that is unfolded does: pixel by pixel, each added where it is written."""
    made = PlanBuilder()
    read, share = made.convert("x", (16, 1, 1)), made.convert("share", (16, 1, 1))
    written = made.tensor(2, 2, 16)
    weight, bias = np.ones((1, 16, 16)), np.ones(16)
    target = OutputSlice(written, **place)
    made.igemm(read, target, weight, bias, ((0, 0),), size=(1, 1), add=share)
    with pytest.raises(ValueError, match=r"step 2 \(igemm\): add"):
        made.plan()


@pytest.mark.parametrize(
    "change",
    [
        says("igemm", source=99),
        says("igemm", source=-1),
        says("winograd", source=-2),
        says("sigmoid", source=-1),
        says("quantize", source=3),
        says("winograd", depth=40),
        says("winograd", depth=192),
        says("winograd", depth=0),
        says("igemm", depth=6),
        says("igemm", depth=-4),
        says("sigmoid", depth=48),
        says("convert", depth=89_478_486),  # times 48 it is 32, in 32 bits
        says("quantize_f32", depth=16),
        says("winograd", channels=24),
        says("igemm", channels=8),
        says("convert", channels=127),
        says("convert", height=6),
        says("convert", width=12),
        says("convert", input="mel"),
        says("convert", input="nobody"),
        says("quantize_f32", input="f"),
        says("quantize_f32", height=20),
        says("igemm", stride=[0, 1]),
        says("igemm", stride=[3, -1]),
        says("igemm", stride=[3]),
        says("igemm", stride=[4, 1]),
        says("igemm", stride=[float("inf"), 1]),
        says("igemm", kind="blur"),
        says("igemm", kind=3),
        says("winograd", height=0),
        says("igemm", width=-1),
        says("winograd", height=7.0),
        says("winograd", depth=True),
        says("igemm", source=0.0),
        says("igemm", at_row=0.5),
        says("igemm", add=1.5),
        says("convert", width="11"),
        says("igemm", something="else"),
        says("igemm", target=None),
    ],
)
def test_a_step_that_says_what_cannot_be_is_refused(path, change):
    rewritten(path, change)
    assert "misstates" in refusal(path)


def winograd_of(depth):
    made = PlanBuilder()
    read, written = made.convert("x", (32, 5, 5)), made.tensor(5, 5, 16)
    made.winograd(read, OutputSlice(written), np.ones((16, depth, 3, 3)), np.ones(16), size=(5, 5))
    return made


def igemm_of(depth, taps):
    made = PlanBuilder()
    read, written = made.convert("x", (32, 5, 5)), made.tensor(5, 5, 16)
    weight = np.ones((1, 32, 16))
    made.igemm(read, OutputSlice(written), weight, np.ones(16), ((0, 0),), size=(5, 5))
    made.steps[-1] = replace(made.steps[-1], depth=depth, taps=taps)
    made.arrays[-1] |= {"weights": np.ones(len(taps) * depth * 16, np.int8)}
    return made


def sigmoid_of(depth):
    made = PlanBuilder()
    made.sigmoid(made.convert("x", (32, 5, 5)), np.ones((3, depth)), np.ones(3))
    return made


@pytest.mark.parametrize(
    ("made", "wrong", "right", "said"),
    [
        (winograd_of, 48, 32, "depth"),
        (winograd_of, 24, 16, "depth"),
        (sigmoid_of, 48, 32, "depth"),
        (sigmoid_of, 24, 16, "depth"),
        (lambda depth: igemm_of(depth, ((0, 0),)), 36, 32, "depth"),
        (lambda depth: igemm_of(depth, ((0, 0),)), 6, 4, "depth"),
        (lambda taps: igemm_of(32, taps), (), ((0, 0), (1, 1)), "taps"),
    ],
)
def test_arrays_that_fit_do_not_excuse_a_step_that_does_not(made, wrong, right, said):
    assert made(right).plan().steps
    with pytest.raises(ValueError, match=f"step 1 .*{said}"):
        made(wrong).plan()


@pytest.mark.parametrize(
    "change",
    [
        tensor_says(channels=178),
        tensor_says(channels=0),
        tensor_says(height=-7),
        tensor_says(height=7.5),
        tensor_says(width=2**40),
        tensor_says(height=40_000, width=40_000),
        tensor_says(unit=0.0),
        tensor_says(unit=-1.0),
        tensor_says(unit=float("nan")),
        tensor_says(unit="1"),
        tensor_says(depth=3),
    ],
)
def test_a_picture_that_cannot_be_is_refused(path, change):
    rewritten(path, change)
    assert "misstates" in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        held("winograd", "weights", lambda array: array[:-4]),
        held("winograd", "weights", lambda array: array.view(np.uint8)),
        held("winograd", "sums", lambda array: array.astype(np.int64)),
        held("winograd", "scales", lambda array: array[:1]),
        held("igemm", "bias", lambda array: array.astype(np.float64)),
        held("igemm", "scales", lambda array: array.astype(">f4")),
        held("igemm", "weights", lambda array: np.append(array, array)),
        held("sigmoid", "scales", lambda array: array[:2]),
        held("sigmoid", "bias", lambda array: array[:1]),
    ],
)
def test_an_array_of_another_size_or_type_is_refused(path, change):
    rewritten(path, change)
    assert "misstates step" in refusal(path)


def without(name):
    return lambda header, _: {k: v for k, v in header.items() if k != name}


@pytest.mark.parametrize(
    "change",
    [
        without("steps"),
        without("inputs"),
        without("output"),
        without("tensors"),
        lambda header, _: {**header, "steps": 3},
        lambda header, _: {**header, "inputs": []},
        lambda header, _: {**header, "inputs": {"f": 3}},
        lambda header, _: {**header, "inputs": {**header["inputs"], "f": [128, 7, 12]}},
        lambda header, _: {**header, "output": [13, 23, 3]},
        lambda header, _: {**header, "output": [13, 22]},
        lambda header, _: {**header, "output": [float("inf"), 22, 3]},
        lambda header, _: {**header, "tensors": header["tensors"][:2]},
        lambda _, sections: sections.clear(),
        lambda _, sections: sections.popitem() and None,
    ],
)
def test_a_header_that_lacks_or_misstates_something_is_refused(path, change):
    rewritten(path, change)
    assert "misstates" in refusal(path)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("offset", 10**9),
        ("offset", -64),
        ("offset", float("inf")),
        ("shape", [2**40]),
        ("shape", [-2]),
        ("shape", 3),
        ("dtype", "O"),
        ("dtype", "nothing"),
    ],
)
def test_a_section_that_is_not_in_the_file_is_refused(path, field, wrong):
    """The table is written by hand here: ``write_pack`` writes none that is wrong."""
    pack = read_pack(path, KIND)
    header = json.loads(pack.text)
    header["sections"]["3 weights"][field] = wrong
    text = json.dumps(header).encode()
    rest = text + bytes(-(48 + len(text)) % 64) + pack.body
    digest = hashlib.sha256(rest).digest()
    path.write_bytes(struct.pack("<8sII32s", KIND.magic, 2, len(text), digest) + rest)
    assert "misstates" in refusal(path)


@pytest.mark.parametrize("order", [slice(-1), slice(None, None, -1)], ids=["without", "first"])
def test_a_plan_that_does_not_end_in_a_picture_is_refused(plan, path, order):
    save_plan(path, replace(plan, steps=plan.steps[order], arrays=plan.arrays[order]))
    assert "misstates" in refusal(path)


@needs_kernels
def test_the_backend_names_the_file_too(path):
    rewritten(path, says("winograd", at_row=1))
    with pytest.raises(ModelError, match=r"small\.plan misstates step 3 \(winograd\): target"):
        NativeBackend.open(path, 1, "int8")
