"""Every GPU runtime paints what torch paints on that GPU; and how long each takes."""

import statistics
import threading
import time

import numpy as np
import pytest
import torch

from lipstream import MouthModel, Worker
from lipstream.errors import BackendUnavailable, InputError
from lipstream.inference.backends import BankRow
from lipstream.live.compositor import pasted_patch, pixel_compositor, planes_of
from lipstream.live.frame_source import PreparedAvatar
from lipstream.types import Still
from lipstream_models.networks.wav2lip import FaceGraph, MouthGraph
from toys import make_toy_avatar

RUNTIMES = [
    ("cuda", "fp32"),
    ("cuda", "fp16"),
    ("tensorrt", "fp32"),
    ("tensorrt", "fp16"),
    ("tensorrt_rtx", "fp32"),
    ("tensorrt_rtx", "fp16"),
]
BATCHES = (1, 8, 32)
LEAST_DB = {"fp32": 60.0, "fp16": 45.0}
TURNS = 50
SECONDS = 3


@pytest.fixture(scope="module", params=RUNTIMES, ids="-".join)
def opened(request, gpu, folder, report):
    backend, precision = request.param
    begun = time.perf_counter()
    try:
        model = MouthModel.open(folder, backend=backend, precision=precision)
    except BackendUnavailable as error:
        pytest.skip(str(error))
    name = f"{backend} {precision}"
    report.setdefault(name, {})["seconds to open, building"] = time.perf_counter() - begun
    yield name, precision, model
    model.close()


@pytest.fixture(scope="module")
def truth(gpu, wav2lip, samples):
    network = wav2lip.to("cuda")
    with torch.no_grad():
        features = FaceGraph(network)(torch.from_numpy(samples.crops).cuda())
        mouths = MouthGraph(network)(torch.from_numpy(samples.mels).cuda(), *features)
    painted = mouths.cpu().numpy()
    wav2lip.to("cpu")
    return painted


def milliseconds(run, wait=lambda: None):
    for _ in range(5):
        run()
    wait()
    taken = []
    for _ in range(TURNS):
        begun = time.perf_counter()
        run()
        wait()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


@pytest.mark.parametrize("batch", BATCHES)
def test_the_picture_is_torchs(opened, truth, samples, report, batch):
    name, precision, model = opened
    features = model.face_features(samples.crops[:batch])
    error = model.mouth(samples.mels[:batch], features).astype(float) - truth[:batch]
    psnr = 10 * np.log10(255**2 / max(np.square(error).mean(), 1e-6))
    report[name][f"PSNR against torch, dB, batch {batch}"] = float(psnr)
    assert psnr >= LEAST_DB[precision]


def test_what_is_pasted_there_is_within_a_level_of_what_the_processor_pastes(opened, samples):
    name, _, model = opened
    if not model.pastes:
        pytest.skip(f"{name} paints, and the processor pastes")
    prepared = PreparedAvatar.prepare(make_toy_avatar(4), model, paste_on_gpu=True)
    rows, openness = [BankRow(prepared.bank, k) for k in range(4)], [1.0, 0.7, 0.4, 1.0]
    mels = [samples.mels[k : k + 1] for k in range(4)]
    mouths = model.paint_rows(mels, rows).copy()
    pasted = model.paste_rows(mels, rows, openness)
    made = [pasted_patch(*one) for one in zip(prepared.targets, pasted, strict=True)]
    for patch, target, mouth, share in zip(made, prepared.targets, mouths, openness, strict=True):
        wanted = planes_of(Still(pixel_compositor(model).paste(target, mouth, share)))
        assert np.abs(patch.planes.y.astype(int) - wanted.y[target.patch_box]).max() <= 1


@pytest.mark.parametrize("batch", BATCHES)
def test_a_batch_takes_a_time_that_is_noted(opened, samples, report, batch):
    name, _, model = opened
    features, mel = model.face_features(samples.crops[:batch]), samples.mels[:batch]
    taken = milliseconds(lambda: model.mouth(mel, features))
    report[name][f"ms a call, batch {batch}"] = taken
    report[name][f"ms a frame, batch {batch}"] = taken / batch
    assert taken < 1000


@pytest.mark.parametrize("batch", BATCHES)
def test_torch_itself_takes_a_time_that_is_noted(gpu, wav2lip, samples, report, batch):
    network = wav2lip.to("cuda")
    mel = torch.from_numpy(samples.mels[:batch]).cuda()
    with torch.no_grad():
        features = FaceGraph(network)(torch.from_numpy(samples.crops[:batch]).cuda())
        mouth = MouthGraph(network)
        taken = milliseconds(lambda: mouth(mel, *features), torch.cuda.synchronize)
    wav2lip.to("cpu")
    report.setdefault("torch fp32", {})[f"ms a frame, batch {batch}"] = taken / batch
    assert taken < 1000


def test_more_rows_than_an_engine_was_built_for_are_refused(opened, samples):
    name, _, model = opened
    if not name.startswith("tensorrt"):
        pytest.skip("ONNX Runtime takes any batch")
    features = {key: np.repeat(a, 2, 0) for key, a in model.face_features(samples.crops).items()}
    with pytest.raises(InputError, match="1 to 32"):
        model.mouth(np.repeat(samples.mels, 2, 0), features)


def test_an_engine_is_built_once(driver, opened, folder, report):
    name, precision, _ = opened
    if not name.startswith("tensorrt"):
        pytest.skip("ONNX Runtime builds nothing")
    begun = time.perf_counter()
    MouthModel.open(folder, backend=name.split()[0], precision=precision).close()
    again = report[name]["seconds to open, from the cache"] = time.perf_counter() - begun
    assert again < max(5.0, report[name]["seconds to open, building"])


@pytest.mark.parametrize("count", [1, 8, 32, 128])
def test_sessions_are_served_in_time(gpu, folder, report, count):
    """As many sessions as are asked for, each fed SECONDS of sound at once: frames a second."""
    try:
        model = MouthModel.open(folder, backend="auto")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    if model.best_batch == 1:
        model.close()
        pytest.skip(f"auto took {model.backend}: no GPU runtime is installed")
    sound = np.random.default_rng(7).normal(0, 3000, 16_000 * SECONDS).astype(np.int16)
    wanted, lock, done, frames = count * 25 * SECONDS, threading.Lock(), threading.Event(), [0]

    def take(frame):
        with lock:
            frames[0] += 1
            if frames[0] == wanted:
                done.set()

    with Worker(model, capacity=count) as worker:
        avatar = make_toy_avatar()
        sessions = [worker.open_session(avatar, rate=16_000, on_frame=take) for _ in range(count)]
        begun = time.perf_counter()
        for session in sessions:
            assert session.feed(sound)
            session.flush()
        assert done.wait(120), f"{frames[0]} of {wanted} frames came"
        spent = time.perf_counter() - begun
    figures = report.setdefault(f"auto: {model.backend} fp32", {})
    figures[f"frames a second, {count} sessions"] = wanted / spent
    figures[f"sessions at 25 fps, {count} fed"] = wanted / spent / 25
