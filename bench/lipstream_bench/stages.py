"""How long each stage of one frame takes, alone and on one thread.

And how many times faster a frame is than the whole graph in ONNX Runtime, fp32: the way everybody
runs it. Other programs slow a machine down from one second to the next, so the runs take turns: one
of each, again and again, and the ratio is the median of those within each turn.
"""

import statistics
import time
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lipstream.audio.mel import BANDS, MelWindow, mel_columns
from lipstream.audio.resampler import Resampler
from lipstream.audio.ring import RingBuffer
from lipstream.avatar.pack import Avatar
from lipstream.errors import BackendUnavailable, InputError
from lipstream.inference.model import MouthModel
from lipstream.live.compositor import draw, empty_planes, make_compositor
from lipstream.live.frame_source import PreparedAvatar
from lipstream.live.lipsync import LipSync
from lipstream.live.pipeline import Pipeline, paint
from lipstream.types import AvFrame
from lipstream_bench.report import (
    FPS,
    RATE,
    Measurement,
    Report,
    Settings,
    called,
    describe,
    open_model,
    speech_like,
    timing_of,
)

BASELINE = "ONNX Runtime, whole graph, fp32"
_WARM_UP_RATIO = 3
_LEAST_ROUNDS = 10
_REST_SECONDS = 0.1
"""Between two runs: ONNX Runtime's threads look for more work for a while after theirs is done, and
took the next run's core."""


def has_whole_graph(folder: Path | None) -> bool:
    """Return whether a model folder names its whole graph ('lipstream export --whole')."""
    if folder is None or not (folder / "model.toml").is_file():
        return False
    return "whole" in tomllib.loads((folder / "model.toml").read_text("utf-8")).get("files", {})


@dataclass(slots=True)
class _Turns:
    """What each turn of one run took, milliseconds."""

    wall_ms: list[float] = field(default_factory=list)
    processor_ms: list[float] = field(default_factory=list)
    """Of all threads of this process; meaningful where the runs have one thread."""


def measure_ratios(settings: Settings) -> tuple[list[Measurement], dict[str, float]]:
    """Return a row for the baseline and each backend, and the ratios by name.

    With one thread there is a second ratio, of processor time, which other programs hardly change.
    Raises InputError when the model folder has no whole graph.
    """
    if settings.model is None or not has_whole_graph(settings.model):
        raise InputError("there is no whole graph to compare with: export with --whole")
    with ExitStack() as stack:
        models = {b: stack.enter_context(open_model(settings, b)) for b in settings.backends}
        runs = {BASELINE: _baseline(settings, next(iter(models.values())))}
        runs |= {name: _mouth_of(model) for name, model in models.items()}
        times = _take_turns(runs, settings.seconds * len(runs))
    rows = [
        Measurement.of(name, "network, in turns", turns.wall_ms) for name, turns in times.items()
    ]
    ratios: dict[str, float] = {}
    baseline = times.pop(BASELINE)
    for name, turns in times.items():
        ratio = median_ratio(baseline.wall_ms, turns.wall_ms)
        ratios[f"{name}: times faster than {BASELINE}"] = ratio
        if settings.threads == 1:
            ratio = median_ratio(baseline.processor_ms, turns.processor_ms)
            ratios[f"{name}: times less processor time than {BASELINE}"] = ratio
    return rows, ratios


def median_ratio(baseline: list[float], times: list[float]) -> float:
    """Return the median of the ratios within each turn: a slow moment slows both."""
    return statistics.median(a / b for a, b in zip(baseline, times, strict=True))


def _take_turns(runs: dict[str, Callable[[], object]], seconds: float) -> dict[str, _Turns]:
    for run in runs.values():
        for _ in range(_WARM_UP_RATIO):
            run()
    times = {name: _Turns() for name in runs}
    end = time.perf_counter() + seconds
    while len(times[BASELINE].wall_ms) < _LEAST_ROUNDS or time.perf_counter() < end:
        for name, run in runs.items():
            time.sleep(_REST_SECONDS)
            run()  # whoever ran before has left its own weights in the cache
            started, cpu_started = time.perf_counter(), time.process_time()
            run()
            times[name].wall_ms.append((time.perf_counter() - started) * 1000)
            times[name].processor_ms.append((time.process_time() - cpu_started) * 1000)
    return times


def _baseline(settings: Settings, model: MouthModel) -> Callable[[], object]:
    """Return a run of the whole graph with the options ONNX Runtime has when nobody sets any."""
    try:
        import onnxruntime  # noqa: PLC0415  optional
    except ImportError as error:
        raise BackendUnavailable("comparing needs onnxruntime: pip install onnxruntime") from error
    assert settings.model is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    session = onnxruntime.InferenceSession(
        str(settings.model / "whole.onnx"), options, providers=["CPUExecutionProvider"]
    )
    size, columns = model.manifest.face_size, model.manifest.mel_columns
    random = np.random.default_rng(1)
    feeds = {
        "mel": random.uniform(-4, 4, (1, 1, BANDS, columns)).astype(np.float32),
        "face": random.random((1, 6, size, size), np.float32),
    }
    return lambda: session.run(None, feeds)


def _mouth_of(model: MouthModel) -> Callable[[], object]:
    size, columns = model.manifest.face_size, model.manifest.mel_columns
    random = np.random.default_rng(1)
    crops = random.integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    mel = random.uniform(-4, 4, (1, 1, BANDS, columns)).astype(np.float32)
    features = model.face_features(crops)
    return lambda: model.mouth(mel, features)


METHOD = (
    "each stage is called again and again on one thread with the shapes of the live path, warmed up"
    " first; 'whole frame' is 40 ms of sound through the live pipeline in one go (resampling, mel,"
    " network, paste); conversion comes on top: to I420, what a video encoder takes, where the"
    " mouth shows, over the still converted once; 'outside the network' is the whole frame and the"
    " conversion without the network, each timed in the same frames; where the model folder has its"
    " whole graph, the network and that graph in ONNX Runtime take turns, with a rest between."
    " 'face filling' n: the avatar's first picture, cut round the face and enlarged to n x n;"
    " processor time of the thread that makes the frame, which is all of it with --threads 1"
)
FACE_SIDES = (512, 1080, 1920)
"""Sides of pictures that a face fills, pixels."""
_MARGIN = 1.2
"""Side of what is cut round a face, heights of its crop."""
_WARM_UP = 10
_LEAST, _MOST = 20, 5000
"""Times a stage is measured."""


def measure_stages(settings: Settings) -> Report:
    """Measure every stage in every backend asked for."""
    avatar = Avatar.open(settings.avatar)
    rows: list[Measurement] = []
    subject = None
    for backend in settings.backends:
        with open_model(settings, backend) as model:
            subject = describe(model, avatar)
            rows += [
                Measurement.of(called(model, backend), name, _timed(stage, settings.seconds))
                for name, stage in _stages(model, avatar).items()
            ]
            outside = _outside_the_network(model, avatar, settings.seconds)
            rows.append(Measurement.of(called(model, backend), "outside the network", outside))
            for side in FACE_SIDES if model.manifest.paints == "shape" else ():
                parts = processor_times(model, filled(avatar, side), settings.seconds)
                rows += [
                    Measurement.of(called(model, backend), f"{part}, face filling {side}", times)
                    for part, times in parts.items()
                ]
    assert subject is not None, "there is at least one backend"
    ratios: dict[str, float] = {}
    if has_whole_graph(settings.model):
        compared, ratios = measure_ratios(settings)
        rows += compared
    return Report("stages", METHOD, subject, tuple(rows), ratios)


_FIRST_FRAME = 25
"""A second in: the windows of this frame and of the 70 after it lie in the sound."""


def _stages(model: MouthModel, avatar: Avatar) -> dict[str, Callable[[int], object]]:
    """Return name -> a function that does the stage for frame k."""
    timing = timing_of(model)
    prepared = PreparedAvatar.prepare(avatar, model)
    compositor: Any = make_compositor(model)  # its targets are of one kind, those of the model
    sound = speech_like(5.0)
    resampler = Resampler(RATE)
    model_sound = Resampler(RATE).feed(sound)
    first = timing.mel_span(_FIRST_FRAME)
    sound_ring = RingBuffer(len(model_sound), np.float32)
    sound_ring.append(model_sound)
    window = MelWindow(timing.mel_columns)
    frame_samples = int(RATE / FPS)
    pictures = [prepared.picture(k, Fraction(FPS)) for k in range(min(len(avatar), 50))]
    mel = mel_columns(model_sound[first.start : first.stop])[None, None]
    faces = [picture.face for picture in pictures if picture.face is not None]
    mouth = model.paint_rows([mel], [faces[0]])[0].copy()
    convert = _conversion(avatar)
    lips = LipSync(model, prepared, timing)
    lips.feed(sound[:RATE])

    def cut(k: int) -> slice:
        at = frame_samples * (k % 90)
        return slice(at, at + frame_samples)

    def one_mel(k: int) -> object:
        if k % 70 == 0:  # the sound from its beginning: columns are asked for in rising order
            window.reset()
        return window.read(timing.first_column(_FIRST_FRAME + k % 70), sound_ring)

    def one_paste(k: int) -> object:
        target = pictures[k % len(pictures)].target
        assert target is not None, "every avatar frame has a face"
        return compositor.patch(target, mouth, 1.0)

    first_frame = lips.feed(sound[cut(0)])[0]
    return {
        "resampling": lambda k: resampler.feed(sound[cut(k)]),
        "mel": one_mel,
        "network": lambda k: model.paint_rows([mel], [faces[k % len(faces)]]),
        "paste": one_paste,
        "whole frame": lambda k: lips.feed(sound[cut(k)]),
        "conversion": lambda _: convert(first_frame),
    }


def _conversion(avatar: Avatar) -> Callable[[AvFrame], object]:
    """Return what makes a frame ready for an encoder: nothing where a side is odd."""
    if avatar.height % 2 or avatar.width % 2:
        return lambda _: None
    canvas = empty_planes(avatar.height, avatar.width)
    return lambda frame: draw(frame, canvas)


def _outside_the_network(model: MouthModel, avatar: Avatar, seconds: float) -> list[float]:
    """Return the milliseconds of whole frames, drawn for an encoder, less those of the network."""
    timing = timing_of(model)
    prepared = PreparedAvatar.prepare(avatar, model)
    pipeline = Pipeline(prepared, timing, make_compositor(model))
    sound, samples = speech_like(4.0), int(RATE / FPS)
    convert = _conversion(avatar)
    pipeline.feed(sound[:RATE])
    for request in iter(pipeline.next_request, None):
        convert(pipeline.complete(request, paint(model, request)))  # stills are made here
    times_ms: list[float] = []
    end = time.perf_counter() + seconds
    while len(times_ms) < _LEAST or (len(times_ms) < _MOST and time.perf_counter() < end):
        at = samples * (len(times_ms) % 90)
        started = time.perf_counter()
        pipeline.feed(sound[at : at + samples])
        made = pipeline.next_request()
        assert made is not None, "40 ms of sound are one frame"
        painting = time.perf_counter()
        mouth = paint(model, made)
        painted = time.perf_counter()
        convert(pipeline.complete(made, mouth))
        times_ms.append((time.perf_counter() - painted + painting - started) * 1000)
    return times_ms


def filled(avatar: Avatar, side: int) -> Avatar:
    """Return an avatar of one picture, ``side`` pixels square, which the face fills."""
    crop = avatar.crops[0]
    middle = crop[:, :2].sum(1) / 2 + crop[:, 2]
    height = float(np.linalg.norm(crop[:, 1])) * _MARGIN
    scale = np.float32(side / height)
    affine = np.column_stack([np.eye(2) * scale, side / 2 - middle * scale])
    flags = cv2.INTER_CUBIC
    picture = cv2.warpAffine(
        avatar.frames[0], affine, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    there = crop * scale
    there[:, 2] += affine[:, 2]
    return Avatar.from_frames([np.asarray(picture, np.uint8)], [there])


def processor_times(model: MouthModel, avatar: Avatar, seconds: float) -> dict[str, list[float]]:
    """Return the milliseconds of processor time of each part of a frame in which lips move."""
    timing = timing_of(model)
    prepared = PreparedAvatar.prepare(avatar, model)
    pipeline = Pipeline(prepared, timing, make_compositor(model))
    sound, samples = speech_like(4.0), int(RATE / FPS)
    parts: dict[str, list[float]] = {"sound": [], "network": [], "drawing": [], "all of it": []}
    pipeline.feed(sound[:RATE])
    for request in iter(pipeline.next_request, None):
        pipeline.complete(request, paint(model, request))
    end, count = time.perf_counter() + seconds, 0
    while count < _LEAST or (count < _MOST and time.perf_counter() < end):
        at = samples * (count % 90)
        marks = [time.thread_time_ns()]
        pipeline.feed(sound[at : at + samples])
        made = pipeline.next_request()
        assert made is not None, "40 ms of sound are one frame"
        marks.append(time.thread_time_ns())
        mouth = paint(model, made)
        marks.append(time.thread_time_ns())
        pipeline.complete(made, mouth)
        marks.append(time.thread_time_ns())
        taken = [*np.diff(marks), marks[-1] - marks[0]]
        for part, nanoseconds in zip(parts.values(), taken, strict=True):
            part.append(float(nanoseconds) / 1e6)
        count += 1
    return parts


def _timed(stage: Callable[[int], object], seconds: float) -> list[float]:
    """Return the milliseconds of each call, until ``seconds`` have passed."""
    for k in range(_WARM_UP):
        stage(k)
    times_ms: list[float] = []
    end = time.perf_counter() + seconds
    while len(times_ms) < _LEAST or (len(times_ms) < _MOST and time.perf_counter() < end):
        started = time.perf_counter()
        stage(len(times_ms))
        times_ms.append((time.perf_counter() - started) * 1000)
    return times_ms
