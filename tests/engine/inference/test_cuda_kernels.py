"""Our CUDA kernels without a card: compiled for every kind of them, and run on the processor.

A kernel is C++ but for a few words, which ``cuda_on_cpu.cpp`` explains to a compiler of C++: each
thread of a block is then a thread of the processor. So what is compared with the twins in numpy is
the source that a card runs.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.inference import kernel_twins
from lipstream.errors import BackendUnavailable
from lipstream.inference import kernels as module
from lipstream.inference.backends.cuda import _TARGET, PATCH_BYTES, _Mouths
from lipstream.inference.kernels import CUDA, choose_architecture, compile_kernels, open_nvrtc
from lipstream.live.compositor import Compositor, MouthArea, planes_of
from lipstream.types import Still

CAPABILITIES = ("7.5", "8.6", "8.9", "9.0", "12.0")
"""Turing, Ampere, Ada, Hopper (H100, H200) and Blackwell."""


@pytest.fixture(scope="module")
def nvrtc():
    try:
        return open_nvrtc()
    except BackendUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_kernels_are_compiled_for_every_generation_of_cards(nvrtc, capability):
    code = compile_kernels(capability)
    assert code.startswith(b"\x7fELF")
    for name in kernel_twins.TWINS:
        assert name.encode() in code


@pytest.mark.slow
def test_a_card_between_two_that_are_known_gets_the_older_ones_code(nvrtc):
    assert compile_kernels("8.8") == compile_kernels("8.8")
    assert choose_architecture("12.1", [75, 90, 100, 120]) == 120
    assert choose_architecture("8.9", [75, 80, 86, 90]) == 86


def test_a_card_that_is_too_old_is_refused_by_its_number(nvrtc):
    with pytest.raises(BackendUnavailable, match=r"compute capability 6\.1: it knows 75"):
        compile_kernels("6.1")


def test_a_mistake_in_a_kernel_is_told_by_its_line(nvrtc, tmp_path, monkeypatch):
    (tmp_path / "mouth.cu").write_text("\n__global__ void gather() { wrong }\n")
    monkeypatch.setattr(module, "CUDA", tmp_path / "mouth.cu")
    with pytest.raises(BackendUnavailable, match=r"mouth\.cu\(2\): error"):
        compile_kernels("8.9")


def test_without_nvrtc_what_to_install_is_said(monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(module.importlib, "import_module", absent)
    with pytest.raises(BackendUnavailable, match="pip install nvidia-cuda-nvrtc"):
        open_nvrtc()


class Memory:
    """What kernels see of a card: blocks of the processor's memory."""

    def __init__(self):
        self.held = []

    def hold(self, array):
        """Return where an array lies from now on."""
        self.held.append(np.ascontiguousarray(array))
        return self.held[-1].ctypes.data

    def view(self, address, shape, dtype):
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_uint8 * count).from_address(address)
        return np.frombuffer(memory, dtype).reshape(shape)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """The kernels on the processor: name, grid, threads of a block, arguments."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler here: apt install g++")
    target = tmp_path_factory.mktemp("kernels") / "kernels.so"
    flags = ["-std=c++20", "-O1", "-Wall", "-Werror", "-ffp-contract=off", "-shared", "-fPIC"]
    words = Path(__file__).with_name("cuda_on_cpu.cpp")
    command = [compiler, *flags, "-pthread", f'-DKERNELS="{CUDA}"', words, "-o", target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(target))

    def run(name, grid, threads, values):
        types, _ = kernel_twins.TWINS[name]
        pairs = zip(types, values, strict=True)
        held = [one if isinstance(one, ctypes.Structure) else kind(one) for kind, one in pairs]
        addresses = (ctypes.c_void_p * len(held))(*map(ctypes.addressof, held))
        library.launch(name.encode(), *grid, threads, addresses)

    return run


@pytest.mark.parametrize("sizes", [(16, 4096, 48), (4, 20, 1028), (1, 7, 33)])
def test_rows_are_gathered_as_the_twin_does(kernels, sizes):
    rng, rows = np.random.default_rng(3), 5
    banks = [rng.integers(0, 256, (9, size), np.uint8) for size in sizes]
    heads = np.zeros((rows, len(sizes) + 2), np.uint64)
    for row in range(rows):
        for at, (bank, size) in enumerate(zip(banks, sizes, strict=True)):
            heads[row, at] = bank.ctypes.data + int(rng.integers(9)) * size
    heads[2, 1] = 0
    made = []
    for run in (
        kernels,
        lambda name, grid, _, values: kernel_twins.gather(Memory(), grid, *values),
    ):
        batch = [np.full((rows, size), 7, np.uint8) for size in sizes]
        places = np.array([(one.ctypes.data, one.shape[1]) for one in batch], np.uint64)
        values = (heads.ctypes.data, heads.strides[0], places.ctypes.data)
        run("gather", (2, len(sizes), rows), 8, values)
        made.append(batch)
    for one, other in zip(*made, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (made[0][1][2] == 7).all()
    assert not (made[0][1][3] == 7).all()


AREA = MouthArea(96, 48, 96)
CROPS = (
    np.array([[150, -10, 80], [12, 160, 40]], np.float32),
    np.array([[100, 9, 10], [-8, 104, -6]], np.float32),  # over an edge of the picture
    np.array([[60, 0, 120], [0, 60, 60]], np.float32),  # smaller than what the network sees
)


def pictures():
    """Yield targets, mouths that differ from their rest in a part, and openness."""
    rng = np.random.default_rng(11)
    rows, columns = np.mgrid[0:240, 0:320]
    for at, crop in enumerate(CROPS):
        waves = 120 + 60 * np.sin(rows / (7 + at)) * np.cos(columns / 11)
        noise = rng.normal(0, 12, (240, 320, 3))
        image = np.clip(waves[..., None] * [0.8, 1.0, 1.2] + noise, 0, 255).astype(np.uint8)
        silent = rng.integers(60, 200, (48, 96, 3)).astype(np.uint8)
        silent = cv2.GaussianBlur(silent, (0, 0), 3)
        target = Compositor(AREA).target(image, crop, silent if at else None)
        mouth = target.rest.astype(float) + 7
        mouth[10:36, 26:70] += cv2.GaussianBlur(rng.normal(0, 160, (26, 44, 3)), (0, 0), 2)
        yield target, np.clip(mouth, 0, 255).astype(np.uint8), (1.0, 0.6, 0.9)[at]


def pasted_by(run, targets, mouths, openness):
    """Return the I420 planes that ``change`` and ``paste`` make of a batch."""
    compositor, memory = Compositor(AREA), Memory()
    on_card = [compositor.paste_target(target) for target in targets]
    count, pixels = len(targets), AREA.face_size * (AREA.bottom - AREA.top)
    table = np.zeros(count, _TARGET)
    for row, one in zip(table, on_card, strict=True):
        for name in ("part", "detail", "rest"):
            row[name] = memory.hold(getattr(one, name))
        row["size"], row["inverse"] = one.part.shape[:2], one.inverse.reshape(6)
    heads = np.zeros((count, 4), np.uint64)
    heads[:, 1] = memory.hold(table) + np.arange(count) * table.itemsize
    heads[:, 2:].view(np.float32)[:, 0] = openness
    work, layers = (
        np.zeros((count, 2, pixels), np.float32),
        np.zeros((count, 4 * pixels), np.float32),
    )
    held = [memory.hold(one) for one in (np.stack(mouths), compositor.feather, work, layers)]
    told = (memory.hold(heads), heads.strides[0], 8, _Mouths(*held, 48, 96))
    patches = np.zeros((count, PATCH_BYTES), np.uint8)
    run("change", (1, 1, count), 8, told)
    run("paste", (2, 1, count), 8, (*told, memory.hold(patches), PATCH_BYTES))
    return [flat[: one.part.size // 2] for flat, one in zip(patches, on_card, strict=True)]


def twin(name, grid, _threads, values):
    kernel_twins.TWINS[name][1](Memory(), grid, *values)


def by_the_compositor(target, mouth, openness):
    """Return what the processor shows in the same part, as I420."""
    picture = Still(Compositor(AREA).paste(target, mouth, openness))
    rows, columns = target.patch_box
    half = tuple(slice(one.start // 2, one.stop // 2) for one in (rows, columns))
    planes = planes_of(picture)
    parts = planes.y[rows, columns], planes.u[half], planes.v[half]
    return np.concatenate([part.reshape(-1) for part in parts])


def test_what_is_pasted_is_within_a_level_of_the_compositors():
    targets, mouths, openness = zip(*pictures(), strict=True)
    for made, *one in zip(
        pasted_by(twin, targets, mouths, openness), targets, mouths, openness, strict=True
    ):
        wanted = by_the_compositor(*one)
        still = by_the_compositor(one[0], one[1], 0.0)
        assert np.abs(wanted.astype(int) - still).max() > 30
        off = np.abs(made.astype(int) - wanted)
        assert off.max() <= 1
        assert (off > 0).mean() < 0.01


def test_the_kernels_paste_as_their_twins_do(kernels):
    batch = list(zip(*pictures(), strict=True))
    for one, other in zip(pasted_by(kernels, *batch), pasted_by(twin, *batch), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
        assert (one != other).mean() < 0.001


def test_a_picture_that_a_card_does_not_take_stays_the_processors():
    compositor = Compositor(AREA)
    odd = np.zeros((101, 133, 3), np.uint8)
    small = np.array([[90, 0, 45], [0, 90, 15]], np.float32)
    assert compositor.paste_target(compositor.target(odd, small)) is None
    wide = np.zeros((1000, 1000, 3), np.uint8)
    large = np.array([[900, 0, 50], [0, 900, 50]], np.float32)
    assert compositor.paste_target(compositor.target(wide, large)) is None
