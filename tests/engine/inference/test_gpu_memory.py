"""TensorRT's backend on a GPU that counts: nothing leaks at any error, nothing is waited for twice.

What a real one paints and how fast is tested in tests/gpu.
"""

import gc
import importlib
import inspect
import re
import sys
import threading
from fractions import Fraction

import numpy as np
import pytest

from engine.inference.fake_gpu import (
    WORKING_BYTES,
    FakeContext,
    FakeCuda,
    FakeEngine,
    fake_tensorrt,
)
from lipstream import AvFrame, MouthModel, Worker
from lipstream.errors import BackendUnavailable, ModelError
from lipstream.inference import kernels
from lipstream.inference.backends import (
    BankRow,
    HostFeatures,
    PasteTarget,
    available_backends,
    cuda,
    open_backend,
)
from lipstream.inference.backends.cuda import PATCH_BYTES, Stream
from lipstream.live.compositor import draw, empty_planes, pasted_patch, pixel_compositor
from lipstream.live.frame_source import PreparedAvatar
from lipstream.live.pipeline import MouthRequest, paint, paint_together
from lipstream.types import Patch, Planes
from lipstream_bench.gpu_limits import memory_of, paste_memory_of
from toys import make_toy_avatar

BACKENDS = ("tensorrt", "tensorrt_rtx")
EVERY_CALL = [pytest.param(1, marks=pytest.mark.slow, id="every one"), pytest.param(37, id="some")]


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Return what puts a fresh GPU in place, with no engine kept."""
    installed = []

    def put(**how):
        gpu = FakeCuda(**how)
        for module, part in ((cuda, "runtime"), (cuda, "driver"), (kernels, "open_nvrtc")):
            monkeypatch.setattr(module, part, lambda: gpu)
        for name in BACKENDS:
            monkeypatch.setitem(sys.modules, name, fake_tensorrt(gpu, name))
        installed.append(gpu)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / str(len(installed))))
        return gpu

    return put


def feeds_of(rows):
    rng = np.random.default_rng(rows)
    return {
        "mel": rng.uniform(-4, 0, (rows, 1, 80, 16)).astype(np.float32),
        "lower": rng.uniform(0, 255, (rows, 48, 96, 3)).astype(np.float32),
    }


def left_on(gpu):
    if gpu.objects:
        gc.collect()
    return [kind for kind, _ in gpu.held.values()], len(gpu.objects)


NOTHING = ([], 0)


def a_life(graph, name):
    """Open, run batches of several sizes, and close; return what was painted."""
    opened = open_backend(graph, name)
    try:
        return [opened.run(feeds_of(rows))["mouth"].copy() for rows in (1, 3, 1, 3, 2)]
    finally:
        opened.close()
        opened.close()


@pytest.mark.parametrize("name", BACKENDS)
def test_batches_of_all_sizes_come_out_as_they_do_on_the_processor(toy_folder, install, name):
    gpu = install()
    painted = a_life(toy_folder / "mouth.onnx", name)
    truth = open_backend(toy_folder / "mouth.onnx", "cpu", 1)
    for mouths, rows in zip(painted, (1, 3, 1, 3, 2), strict=True):
        np.testing.assert_array_equal(mouths, truth.run(feeds_of(rows))["mouth"])
    assert left_on(gpu) == NOTHING


def refusal(graph, name, life=a_life):
    try:
        life(graph, name)
    except BackendUnavailable as error:
        return str(error)
    return pytest.fail("no call was refused")


@pytest.mark.parametrize("step", EVERY_CALL)
@pytest.mark.parametrize("name", BACKENDS)
def test_an_error_at_whichever_call_is_told_and_leaves_nothing(toy_folder, install, name, step):
    graph = toy_folder / "mouth.onnx"
    whole = install()
    a_life(graph, name)
    assert whole.calls > 60
    for call in range(1, whole.calls + 1, step):
        for from_then_on in (False, True):
            gpu = install(fails_at=call, from_then_on=from_then_on)
            message = refusal(graph, name)
            assert re.search(r"CUDA refused \w+: |backend '|cannot", message)
            assert left_on(gpu) == NOTHING, f"call {call}"


@pytest.mark.parametrize("step", EVERY_CALL)
def test_at_whichever_call_opening_fails_auto_goes_on_with_the_next(
    toy_folder, install, caplog, step
):
    graph = toy_folder / "mouth.onnx"
    whole = install()
    opened = open_backend(graph, "tensorrt")
    opening = whole.calls
    opened.close()
    assert opening > 25
    caplog.set_level("INFO", "lipstream.inference.backends")
    for call in range(1, opening + 1, step):
        for from_then_on, taken in ((False, "tensorrt_rtx"), (True, "cpu")):
            gpu = install(fails_at=call, from_then_on=from_then_on)
            caplog.clear()
            opened = open_backend(graph, "auto", 1)
            assert opened.name == taken
            assert f"took {taken} for mouth.onnx; not tensorrt: " in caplog.text
            assert gpu.refused in caplog.text  # the first, not what closing met with after it
            opened.close()
            assert left_on(gpu) == NOTHING, f"call {call}"


def bank_life(graph, name, frames=4):
    """Open, put two avatars there, run rows of both in batches of several sizes, and close."""
    opened = open_backend(graph, name)
    try:
        feeds = feeds_of(frames)
        banks = [opened.open_bank({"lower": feeds["lower"] + k}, frames) for k in range(2)]
        lone = HostFeatures({"lower": feeds["lower"]}, frames)
        rows = [BankRow(bank, at) for at, bank in zip((3, 0, 2), (*banks, lone), strict=True)]
        mels = [feeds["mel"][k : k + 1] for k in range(3)]
        painted = []
        for count in (1, 3, 2, 3):
            painted.append(opened.run_rows(mels[:count], rows[:count])["mouth"].copy())
        return painted
    finally:
        opened.close()


@pytest.mark.parametrize("name", [*BACKENDS, *available_backends()])
def test_frames_of_several_banks_come_out_as_when_their_features_are_handed_over(
    toy_folder, install, name
):
    gpu = install()
    painted = bank_life(toy_folder / "mouth.onnx", name)
    truth = open_backend(toy_folder / "mouth.onnx", name if name in available_backends() else "cpu")
    feeds = feeds_of(4)
    lower = np.stack([feeds["lower"][3], feeds["lower"][0] + 1, feeds["lower"][2]])
    for mouths in painted:
        for at, mouth in enumerate(mouths):
            alone = {"mel": feeds["mel"][at : at + 1], "lower": lower[at : at + 1]}
            np.testing.assert_array_equal(mouth, truth.run(alone)["mouth"][0])
    assert left_on(gpu) == NOTHING


@pytest.mark.parametrize("step", EVERY_CALL)
@pytest.mark.parametrize("name", BACKENDS)
def test_an_error_at_whichever_call_of_banks_is_told_and_leaves_nothing(
    toy_folder, install, name, step
):
    graph = toy_folder / "mouth.onnx"
    whole = install()
    bank_life(graph, name)
    for call in range(1, whole.calls + 1, step):
        for from_then_on in (False, True):
            gpu = install(fails_at=call, from_then_on=from_then_on)
            assert refusal(graph, name, bank_life)
            assert left_on(gpu) == NOTHING, f"call {call}"


def test_a_bank_is_freed_with_its_last_user(toy_folder, install):
    gpu = install()
    opened = open_backend(toy_folder / "mouth.onnx", "tensorrt")
    before = gpu.sizes("device")
    bank = opened.open_bank({"lower": feeds_of(4)["lower"]}, 4)
    assert gpu.sizes("device") == before + 4 * 48 * 96 * 3 * 4
    del bank
    assert gpu.sizes("device") == before
    opened.close()


@pytest.mark.parametrize("name", BACKENDS)
def test_the_memory_of_sessions_is_what_was_calculated(toy_folder, install, name):
    gpu = install()
    with MouthModel.open(toy_folder, backend=name) as model:
        requests = requests_of(model, 32, 3)
        for frame in range(3):
            paint_together(model, requests(frame))
        ports = open_backend(toy_folder / "mouth.onnx", "cpu", 1)
        wanted = memory_of(ports.inputs, ports.outputs, 32, WORKING_BYTES, [3, 4])
        face = open_backend(toy_folder / "face.onnx", "cpu", 1)
        graphs = wanted, memory_of(face.inputs, face.outputs, 32, WORKING_BYTES, [])
        assert gpu.sizes("device") == sum(one.device for one in graphs)
        assert gpu.sizes("page-locked") == sum(one.page_locked for one in graphs)


@pytest.mark.parametrize("name", BACKENDS)
def test_the_memory_of_pasting_is_what_was_calculated(toy_folder, install, name):
    sizes = {}
    for pasted in (False, True):
        gpu = install()
        with MouthModel.open(toy_folder, backend=name) as model:
            requests = requests_of(model, 2, 1, pasted)  # holds both banks
            sizes[pasted] = gpu.sizes("device"), gpu.sizes("page-locked")
    rows, columns = requests(0)[0].picture.target.patch_box
    pixels = (rows.stop - rows.start) * (columns.stop - columns.start)
    mouth = open_backend(toy_folder / "mouth.onnx", "cpu", 1).outputs["mouth"]
    wanted = paste_memory_of(mouth, 32, [pixels] * 7)
    device, locked = np.subtract(sizes[True], sizes[False]).tolist()
    assert locked == wanted.page_locked
    assert 0 <= device - wanted.device <= 7 * 4 * 256  # tables, and what aligning takes


def requests_of(model, sessions, frames, pasted=False):
    """Return a function: frame -> the requests of all sessions, of two avatars."""
    avatars = make_toy_avatar(3, 64), make_toy_avatar(4, 64)
    prepared = [PreparedAvatar.prepare(one, model, paste_on_gpu=pasted) for one in avatars]
    sound = np.random.default_rng(3)
    mels = sound.uniform(-4, 0, (sessions, 1, 1, 80, 16)).astype(np.float32)

    def requests(frame):
        made = []
        for k in range(sessions):
            picture = prepared[k % 2].picture(frame + k, Fraction(25))
            made.append(MouthRequest(frame, mels[k], picture, 1.0 - k % 3 / 4))
        return made

    return requests


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pasted", "frames"),
    [
        (False, 20),
        (True, 3),
        pytest.param(False, 1000, marks=pytest.mark.slow),
        pytest.param(True, 20, marks=pytest.mark.slow),  # the twins of kernels take their time
    ],
)
@pytest.mark.parametrize("name", BACKENDS)
def test_in_the_steady_state_nothing_is_reserved_and_a_batch_is_waited_for_once(
    toy_folder, install, name, pasted, frames
):
    gpu = install()
    with MouthModel.open(toy_folder, backend=name) as model:
        requests = requests_of(model, 32, frames, pasted)
        paint_together(model, requests(0))
        before, moved, held = gpu.counts.copy(), gpu.bytes.copy(), set(gpu.held)
        for frame in range(frames):
            assert all(mouth is not None for mouth in paint_together(model, requests(frame)))
        made = gpu.counts - before
        assert set(gpu.held) == held
        calls = {"cudaGraphLaunch": 1, "cudaStreamSynchronize": 1}
        if name == "tensorrt_rtx":  # what it records is the network alone
            calls = {"cudaMemcpyAsync": 2, "cudaStreamSynchronize": 1}
            calls |= {"set_input_shape": 2, "execute_async_v3": 1}
            calls["cuLaunchKernel"] = 3 if pasted else 1
        assert made == {call: count * frames for call, count in calls.items()}
        bytes_moved = gpu.bytes - moved
        assert bytes_moved["up"] == frames * 32 * (80 * 16 * 4 + 3 * 8)
        assert bytes_moved["down"] == frames * 32 * (PATCH_BYTES if pasted else 48 * 96 * 3)
    assert left_on(gpu) == NOTHING


def drawn(patch):
    """Return a picture as encoders take it, flat."""
    height, width = patch.still.image.shape[:2]
    planes = empty_planes(height, width)
    draw(AvFrame(0, patch, np.zeros(0, np.int16), 0, 1.0), planes)
    return np.concatenate([planes.y.ravel(), planes.u.ravel(), planes.v.ravel()]).astype(int)


@pytest.mark.parametrize("name", BACKENDS)
def test_what_the_gpu_pastes_is_shown_within_a_level_of_what_the_processor_pastes(
    toy_folder, install, name
):
    install()
    with MouthModel.open(toy_folder, backend=name) as model:
        on_gpu, here = (requests_of(model, 7, 3, pasted)(2) for pasted in (True, False))
        mixed = [*on_gpu[:4], *here[4:]]
        compositor = pixel_compositor(model)
        for requests, count in ((on_gpu, 7), (mixed, 4), (on_gpu[:1], 1)):
            made = [
                pasted_patch(one.picture.target, mouth) if isinstance(mouth, Planes) else mouth
                for one, mouth in zip(requests, paint_together(model, requests), strict=True)
            ]
            assert sum(isinstance(one, Patch) for one in made) == count
            for one, got in zip(here, made, strict=False):
                target, mouth = one.picture.target, paint(model, one)
                wanted = drawn(compositor.patch(target, mouth, one.openness))
                assert np.abs(wanted - drawn(compositor.patch(target, mouth, 0.0))).max() > 20
                if isinstance(got, Patch):
                    assert np.abs(drawn(got) - wanted).max() <= 1
                else:
                    np.testing.assert_array_equal(got, mouth)


def pasting_life(folder, name):
    """Open a model, prepare an avatar for pasting, run batches, and close."""
    with MouthModel.open(folder, backend=name) as model:
        requests = requests_of(model, 2, 2, pasted=True)
        for count in (1, 2, 1):
            paint_together(model, requests(count)[:count])


def bare_pasting_life(folder, name):
    """Open the mouth graph alone, give it pictures to paste into, run batches, and close."""
    opened = open_backend(folder / "mouth.onnx", name)
    try:
        feeds, small = feeds_of(2), np.zeros((8, 8, 3), np.uint8)
        bank = opened.open_bank({"lower": feeds["lower"]}, 2)
        rest = np.zeros((48, 96, 3), np.uint8)
        target = PasteTarget(small, small.astype(np.int16), rest, np.eye(2, 3, dtype=np.float32))
        opened.open_targets(bank, [target, target], np.ones((48, 96), np.float32))
        mels = [feeds["mel"][k : k + 1] for k in range(2)]
        rows = [BankRow(bank, k) for k in range(2)]
        for count in (1, 2, 1):
            opened.paste_rows(mels[:count], rows[:count], [1.0] * count)
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("life", "step"),
    [
        pytest.param(pasting_life, 11, id="some of a model", marks=pytest.mark.slow),
        pytest.param(bare_pasting_life, 37, id="some"),
        pytest.param(bare_pasting_life, 1, id="every one", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", BACKENDS)
def test_an_error_at_whichever_call_of_pasting_is_told_and_leaves_nothing(
    toy_folder, install, name, life, step
):
    whole = install()
    life(toy_folder, name)
    assert whole.counts["cuLaunchKernel"] >= 5
    for call in range(1, whole.calls + 1, step):
        for from_then_on in (False, True):
            gpu = install(fails_at=call, from_then_on=from_then_on)
            assert refusal(toy_folder, name, life)
            assert left_on(gpu) == NOTHING, f"call {call}"


def test_sessions_of_a_worker_get_patches_that_the_gpu_pasted(toy_folder, install):
    shown = {}
    sound = np.random.default_rng(5).normal(0, 6000, 8000).astype(np.int16)
    for name in ("tensorrt", "cpu"):
        gpu, frames, done = install(), [], threading.Event()

        def take(frame, frames=frames, done=done):
            frames.append(frame)
            if len(frames) == 12:
                done.set()

        with Worker(MouthModel.open(toy_folder, backend=name, threads=1), capacity=1) as worker:
            session = worker.open_session(make_toy_avatar(), rate=16_000, on_frame=take)
            session.feed(sound)
            session.flush()
            assert done.wait(60)
        assert left_on(gpu) == NOTHING
        shown[name] = frames
    made, wanted = shown["tensorrt"], shown["cpu"]
    assert any(one.shown.planes is not None for one in made)
    assert all(one.shown.planes is None for one in wanted)
    for one, other in zip(made, wanted, strict=False):
        assert np.abs(drawn(one.shown) - drawn(other.shown)).max() <= 1
        assert np.abs(one.image.astype(int) - other.image).max() <= 4  # colours are halved
    assert np.abs(drawn(wanted[8].shown) - drawn(wanted[0].shown)).max() > 10


def test_a_recording_of_work_that_fails_is_destroyed(install):
    gpu = install()
    stream = Stream()

    def work():
        raise ModelError("no")

    with pytest.raises(ModelError):
        stream.capture(work)
    stream.close()
    assert left_on(gpu) == NOTHING


def test_an_engine_that_is_kept_is_not_built_again(toy_folder, install):
    gpu = install()
    for _ in range(2):
        open_backend(toy_folder / "mouth.onnx", "tensorrt").close()
    assert gpu.counts["build_serialized_network"] == 1


def test_the_stand_in_takes_what_nvidias_runtime_takes():
    real = pytest.importorskip("cuda.bindings.runtime", reason="pip install cuda-bindings")
    driver = importlib.import_module("cuda.bindings.driver")
    nvrtc = importlib.import_module("cuda.bindings.nvrtc")
    calls = [name for name in dir(FakeCuda) if re.match(r"(cuda|cu|nvrtc)[A-Z]", name)]
    calls = [name for name in calls if inspect.isfunction(getattr(FakeCuda, name))]
    assert len(calls) > 25
    for name in calls:
        module = nvrtc if name.startswith("nvrtc") else real if hasattr(real, name) else driver
        first = getattr(module, name).__doc__.splitlines()[0]
        first = re.sub(r"\[[^\[\]]*\]", "", re.sub(r"\[[^\[\]]*\]", "", first))
        taken = [one for one in first[first.index("(") + 1 : first.rindex(")")].split(", ") if one]
        here = list(inspect.signature(getattr(FakeCuda, name)).parameters)[1:]
        assert len(here) == len(taken), f"{first} against {here}"


def test_the_stand_in_has_the_names_of_tensorrt():
    real = pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx-cu13")
    for fake, whole in ((FakeEngine, real.ICudaEngine), (FakeContext, real.IExecutionContext)):
        names = [name for name in vars(fake) if not name.startswith("_")]
        assert [name for name in names if not hasattr(whole, name)] == []
    described = vars(fake_tensorrt(FakeCuda(), "tensorrt_rtx"))
    extra = {"nptype", "NetworkDefinitionCreationFlag"}
    assert [name for name in described if not hasattr(real, name) and name not in extra] == []
